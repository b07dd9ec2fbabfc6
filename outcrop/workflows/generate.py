"""`generate`: one answer, whole or as it comes, from any model."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from outcrop.core import settings as environment
from outcrop.core.completions import Completion, CompletionRequest, sampling_from
from outcrop.data.records import Message
from outcrop.generation.cascade import engine_of
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.lookup import Lookup
from outcrop.generation.sampling import check_sampling
from outcrop.models.asking import answers, asked_record, checked_prompt
from outcrop.models.folder import FileStates, ModelFolder, find_model
from outcrop.models.loading import open_model
from outcrop.models.rendering import Renderer
from outcrop.store.lookups import published_folder


class Asked(NamedTuple):
    """An engine and what it is asked. answers: the text is an answer, so white space before it is the rendering's."""

    engine: EmbeddedEngine
    request: CompletionRequest
    answers: bool


def generate(model: str, prompt: str | Sequence[Message], *, lookup: bool = True, **sampling: Any) -> Completion:
    """Answer a prompt or a conversation. sampling: fields of core.completions.Sampling; logit_bias may be a mapping.

    A tuned model is asked in the form it was trained on; any other continues the prompt. lookup: an answer that was
    published (`outcrop batch --publish`) is taken instead, and says so.
    """
    prompt = checked_prompt(prompt)
    found = _published(model, prompt, sampling) if lookup else None
    if found is not None:
        return found
    asked = _asked(model, prompt, sampling)
    completion = asked.engine.complete([asked.request])[0]
    return replace(completion, text=completion.text.lstrip()) if asked.answers else completion


def stream(model: str, prompt: str | Sequence[Message], *, lookup: bool = True, **sampling: Any) -> Iterator[str]:
    """The same as text deltas."""
    prompt = checked_prompt(prompt)
    found = _published(model, prompt, sampling) if lookup else None
    if found is not None:
        return iter([found.text])
    asked = _asked(model, prompt, sampling)
    pieces = asked.engine.stream(asked.request)
    return _from_first_word(pieces) if asked.answers else pieces


def _asked(model: str, prompt: str | Sequence[Message], sampling: dict[str, Any]) -> Asked:
    ready = opened(model)
    record = asked_record(ready.folder, prompt)
    options = sampling_from({"stop_ids": ready.renderer.stop_ids, **sampling})
    request = CompletionRequest(tuple(ready.renderer.prompt(record)), options)
    return Asked(ready.engine, request, answers(ready.folder, record))


def opened(model: str) -> Ready:
    """The model with its engine, kept from one call to the next as long as its files are the same."""
    return _load(model, find_model(model).state())


def _published(model: str, prompt: str | Sequence[Message], sampling: dict[str, Any]) -> Completion | None:
    """The published answer, where there is one for this model, prompt and way of sampling."""
    tables = published_folder()
    if not tables.is_dir() or "stop_ids" in sampling:
        return None
    options = sampling_from(sampling)
    check_sampling(options, sys.maxsize, "the options")
    known = _identify(model, find_model(model).state())
    state = tuple((file.name, file.stat().st_ino) for file in sorted(tables.glob("*.sqlite")))
    return _lookup(tables, known.digest, state).find(asked_record(known.folder, prompt), options)


@lru_cache(maxsize=4)
def _lookup(tables: Path, digest: str, state: tuple[tuple[str, int], ...]) -> Lookup:
    """The published answers of a model, open as long as the tables are the same files."""
    return Lookup(tables, digest)


class Known(NamedTuple):
    """A model's folder, and the digest of it and of how it is asked."""

    folder: ModelFolder
    digest: str


@lru_cache(maxsize=8)
def _identify(model: str, state: FileStates) -> Known:
    """What published answers of a model are found by, as long as `state` is the same."""
    folder = find_model(model)
    return Known(folder, folder.asking_digest())


class Ready(NamedTuple):
    """A model that answers. Its engine remembers what it computed of a conversation."""

    folder: ModelFolder
    renderer: Renderer
    engine: EmbeddedEngine


@lru_cache(maxsize=2)
def _load(model: str, state: FileStates) -> Ready:
    """The model, kept from one turn of a conversation to the next, as long as `state` is the same; two, to compare."""
    torch.set_num_threads(environment.threads())
    loaded = open_model(model)
    return Ready(loaded.folder, loaded.renderer, engine_of(loaded))


def _from_first_word(pieces: Iterator[str]) -> Iterator[str]:
    begun = False
    for piece in pieces:
        rest = piece if begun else piece.lstrip()
        if rest:
            begun = True
            yield rest
