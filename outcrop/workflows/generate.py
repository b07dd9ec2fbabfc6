"""`generate`: one answer, whole or as it comes, from any model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from outcrop.core import settings as environment
from outcrop.core.completions import Completion, CompletionRequest, Sampling
from outcrop.data.mapping import Mapping, fill
from outcrop.data.records import Conversation, Message, Pair, Record
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.models.loading import LoadedModel, load_model

_loaded: dict[str, LoadedModel] = {}


def generate(model: str, prompt: str | Sequence[Message], **sampling: Any) -> Completion:
    """Answer a prompt or a conversation. sampling: fields of core.completions.Sampling."""
    engine, request = _prepared(model, prompt, sampling)
    return engine.complete([request])[0]


def stream(model: str, prompt: str | Sequence[Message], **sampling: Any) -> Iterator[str]:
    """The same as text deltas."""
    engine, request = _prepared(model, prompt, sampling)
    return engine.stream(request)


def _prepared(
    model: str, prompt: str | Sequence[Message], sampling: dict[str, Any]
) -> tuple[EmbeddedEngine, CompletionRequest]:
    if model not in _loaded:
        torch.set_num_threads(environment.threads())
        _loaded.clear()
        _loaded[model] = load_model(model)
    loaded = _loaded[model]
    options = Sampling(**{"stop_ids": loaded.renderer.stop_ids, **sampling})
    request = CompletionRequest(tuple(loaded.renderer.prompt(_record(loaded, prompt))), options)
    return EmbeddedEngine(loaded.model, loaded.tokenizer), request


def _record(loaded: LoadedModel, prompt: str | Sequence[Message]) -> Record:
    """A model tuned with a prompt template is asked through it, so that it is served as it was trained."""
    if not isinstance(prompt, str):
        return Conversation(tuple(prompt))
    source = loaded.folder.card.get("source", {})
    if not source.get("template"):
        return Pair(prompt, "")
    mapping = Mapping.from_text(source["columns"], source["template"])
    assert mapping is not None, "a template makes a mapping"
    return Pair(fill(mapping.template, {"prompt": prompt, mapping.columns.get("prompt", "prompt"): prompt}), "")
