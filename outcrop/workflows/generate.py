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
from outcrop.models.folder import ModelFolder
from outcrop.models.loading import load_model
from outcrop.models.rendering import Renderer

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
    ready = _load(model, _state_of(model))
    record = _record(ready.folder, prompt)
    options = Sampling(**{"stop_ids": ready.renderer.stop_ids, **sampling})
    request = CompletionRequest(tuple(ready.renderer.prompt(record)), options)
    tuned = ready.folder.card.get("kind") == "fine-tuned"
    return Asked(ready.engine, request, tuned or isinstance(record, Conversation))


class Ready(NamedTuple):
    """A model that answers. Its engine remembers what it computed of a conversation."""

    folder: ModelFolder
    renderer: Renderer
    engine: EmbeddedEngine


@lru_cache(maxsize=2)
def _load(model: str, state: tuple[tuple[str, int], ...]) -> Ready:
    """The model, kept from one turn of a conversation to the next, as long as `state` is the same; two, to compare."""
    torch.set_num_threads(environment.threads())
    loaded = load_model(model)
    return Ready(loaded.folder, loaded.renderer, EmbeddedEngine(loaded.model, loaded.tokenizer))


def _state_of(model: str) -> tuple[tuple[str, int], ...]:
    """What changes when a local model folder is written anew: its files and their times."""
    files = sorted(Path(model).iterdir()) if Path(model).is_dir() else []
    return tuple((file.name, file.stat().st_mtime_ns) for file in files)


def _record(folder: ModelFolder, prompt: str | Sequence[Message]) -> Record:
    """The prompt as the model was trained on prompts: through its template, and as a turn or as plain text."""
    if not isinstance(prompt, str):
        return Conversation(tuple(prompt), PROMPT)
    card = folder.card
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
