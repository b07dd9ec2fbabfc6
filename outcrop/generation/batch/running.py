"""Requests through the embedded engine as one stream: its slots stay full from the first to the last."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple

from outcrop.core.completions import Completion, CompletionRequest
from outcrop.core.engines import ModelRef
from outcrop.core.errors import UserError
from outcrop.core.events import Listener
from outcrop.generation.answers import Answer
from outcrop.generation.batch.questions import Refusal
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from outcrop.generation.serving import open_engine


class Pending(NamedTuple):
    """A request and the key that its answer is known by."""

    key: bytes
    request: CompletionRequest


class Answered(NamedTuple):
    """What became of a request."""

    key: bytes
    outcome: list[Completion] | Refusal


class AnsweringSpec(NamedTuple):
    """Which model answers, and how. digest: of its folder; workers: of a cluster, 0 for one on each machine."""

    model: ModelRef
    digest: str
    batch_tokens: int
    workers: int = 0


class LocalAnswering:
    """Answers requests in this process. The model is loaded when it is called.

    prefix_tokens: of prompts, not computed because an earlier one began with them.
    """

    engine = "embedded"

    def __init__(self, spec: AnsweringSpec, listener: Listener) -> None:
        self._spec, self._listener = spec, listener
        self.prefix_tokens = self.generated_tokens = 0
        self.seconds = 0.0

    def __call__(self, requests: Iterator[Pending]) -> Iterator[list[Answered]]:
        """The answers, those of one step together."""
        self._listener({"event": "stage", "title": "Loading the model"})
        engine = open_engine(self._spec.model, Capacity(batch_tokens=self._spec.batch_tokens))
        self._listener({"event": "stage", "title": "Answering"})
        began = time.monotonic()
        try:
            yield from RequestStream(engine).answers(requests)
        finally:
            self.seconds = time.monotonic() - began
            self.prefix_tokens = engine.scheduler.prefix_tokens
            self.generated_tokens = engine.scheduler.generated_tokens


class RequestStream:
    """Answers requests of one engine, each handed out as soon as it is finished.

    Requests in the order of their tokens share the most: a beginning that many have is computed once.
    """

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine
        self._ahead = 2 * engine.scheduler.capacity.slots
        self._open: dict[bytes, list[Answer]] = {}
        self._done: list[Answered] = []

    def answers(self, requests: Iterable[Pending]) -> Iterator[list[Answered]]:
        """The answers, those of one step together. A request that cannot be answered is refused alone."""
        source = iter(requests)
        try:
            while self._fill(source) or self._done:
                if self._open:
                    self._engine.step()
                done, self._done = self._done, []
                if done:
                    yield done
        finally:
            for answer in (answer for answers in self._open.values() for answer in answers):
                answer.cancelled = True

    def _fill(self, source: Iterator[Pending]) -> bool:
        """Submit requests until the slots and as many again are taken; whether any is at work."""
        for key, request in islice(source, max(0, self._ahead - len(self._open))):
            try:
                answers = self._engine.answers(request, "")
            except UserError as error:
                self._done.append(Answered(key, Refusal.of(error)))
                continue
            self._open[key] = answers
            for answer in answers:
                answer.on_change = partial(self._look_at, key)
                self._engine.scheduler.submit(answer)
        return bool(self._open)

    def _look_at(self, key: bytes) -> None:
        """Called after every step that changed an answer of the request."""
        answers = self._open.get(key, [])
        failed = next((answer.error for answer in answers if answer.error), None)
        if not answers or (failed is None and not all(answer.finished for answer in answers)):
            return
        del self._open[key]
        for answer in answers:
            answer.cancelled = answer.cancelled or not answer.finished
        if failed is not None:
            self._done.append(Answered(key, replace(Refusal.of(failed), status=500)))
        else:
            self._done.append(Answered(key, [answer.completion() for answer in answers]))
