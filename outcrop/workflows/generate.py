"""`generate`: one answer, whole or as it comes, from any model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from outcrop.core import settings as environment
from outcrop.core.completions import Completion, CompletionRequest, Sampling
from outcrop.data.mapping import fill
from outcrop.data.records import Conversation, Message, Origin, Pair, Record
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.models.loading import LoadedModel, load_model

PROMPT = Origin("the prompt", 0)


class Asked(NamedTuple):
    """An engine and what it is asked. answers: the text is an answer, so white space before it is the rendering's."""

    engine: EmbeddedEngine
    request: CompletionRequest
    answers: bool


def generate(model: str, prompt: str | Sequence[Message], **sampling: Any) -> Completion:
    """Answer a prompt or a conversation. sampling: fields of core.completions.Sampling.

    A tuned model is asked in the form it was trained on; any other continues the prompt.
    """
    asked = _asked(model, prompt, sampling)
    completion = asked.engine.complete([asked.request])[0]
    return replace(completion, text=completion.text.lstrip()) if asked.answers else completion


def stream(model: str, prompt: str | Sequence[Message], **sampling: Any) -> Iterator[str]:
    """The same as text deltas."""
    asked = _asked(model, prompt, sampling)
    pieces = asked.engine.stream(asked.request)
    return _from_first_word(pieces) if asked.answers else pieces


def _asked(model: str, prompt: str | Sequence[Message], sampling: dict[str, Any]) -> Asked:
    loaded = _load(model, _state_of(model))
    record = _record(loaded, prompt)
    options = Sampling(**{"stop_ids": loaded.renderer.stop_ids, **sampling})
    request = CompletionRequest(tuple(loaded.renderer.prompt(record)), options)
    tuned = loaded.folder.card.get("kind") == "fine-tuned"
    return Asked(EmbeddedEngine(loaded.model, loaded.tokenizer), request, tuned or isinstance(record, Conversation))


@lru_cache(maxsize=1)
def _load(model: str, state: tuple[tuple[str, int], ...]) -> LoadedModel:
    """The model, kept from one turn of a conversation to the next, as long as `state` is the same."""
    torch.set_num_threads(environment.threads())
    return load_model(model)


def _state_of(model: str) -> tuple[tuple[str, int], ...]:
    """What changes when a local model folder is written anew: its files and their times."""
    files = sorted(Path(model).iterdir()) if Path(model).is_dir() else []
    return tuple((file.name, file.stat().st_mtime_ns) for file in files)


def _record(loaded: LoadedModel, prompt: str | Sequence[Message]) -> Record:
    """The prompt as the model was trained on prompts: through its template, and as a turn or as plain text."""
    if not isinstance(prompt, str):
        return Conversation(tuple(prompt), PROMPT)
    card = loaded.folder.card
    form = card.get("prompt")
    if form:
        prompt = fill(form["template"], {"prompt": prompt, form["column"]: prompt})
    turn = Message("user", prompt)
    return Conversation((turn,), PROMPT) if card.get("conversations") else Pair(prompt, "", PROMPT)


def _from_first_word(pieces: Iterator[str]) -> Iterator[str]:
    begun = False
    for piece in pieces:
        rest = piece if begun else piece.lstrip()
        if rest:
            begun = True
            yield rest
