"""Requests answered by vLLM: so many open that its batches stay full, each handed out as soon as it is finished."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from outcrop.core.completions import Completion, CompletionRequest
from outcrop.core.engines import Engine, TokenEvent
from outcrop.core.errors import UserError
from outcrop.core.events import Listener
from outcrop.generation.batch.questions import Refusal
from outcrop.generation.batch.running import Answered, AnsweringSpec, Pending
from outcrop.generation.vllm.engine import VllmEngine, VllmOptions
from outcrop.generation.vllm.environment import check_vllm


class VllmAnswering:
    """Answers requests by a vLLM that is started when it is called, and ended afterwards.

    prefix_tokens: of prompts, not computed because vLLM had them.
    """

    engine = "vllm"

    def __init__(self, spec: AnsweringSpec, listener: Listener, options: VllmOptions | None = None) -> None:
        """Raises UsageError where no environment of vLLM is named."""
        self._spec, self._listener, self._options = spec, listener, options or VllmOptions()
        check_vllm(self._options.python)
        self.prefix_tokens = self.generated_tokens = 0
        self.seconds = 0.0

    def __call__(self, requests: Iterator[Pending]) -> Iterator[list[Answered]]:
        """The answers, those that finished together together."""
        self._listener({"event": "stage", "title": "Starting vLLM"})
        engine = VllmEngine(self._options)
        with asyncio.Runner() as runner:
            runner.run(engine.load(self._spec.model))
            self._listener({"event": "stage", "title": "Answering"})
            began = time.monotonic()
            stream = _Stream(engine, self._options.slots + self._options.most_waiting, requests)
            try:
                while done := runner.run(stream.finished()):
                    self._count(done)
                    yield done
            finally:
                self.seconds = time.monotonic() - began
                runner.run(stream.stop())
                runner.run(engine.close())

    def _count(self, done: list[Answered]) -> None:
        answers = [answered.outcome for answered in done if not isinstance(answered.outcome, Refusal)]
        for completion in (completion for answer in answers for completion in answer):
            self.prefix_tokens += completion.cached_tokens
            self.generated_tokens += len(completion.token_ids)


class _Stream:
    """Keeps `most` requests open at an engine."""

    def __init__(self, engine: Engine, most: int, source: Iterator[Pending]) -> None:
        self._engine, self._most, self._source = engine, most, source
        self._open: set[asyncio.Task[Answered]] = set()

    async def finished(self) -> list[Answered]:
        """What is answered next; nothing when all is. Raises what broke the engine."""
        for pending in islice(self._source, self._most - len(self._open)):
            self._open.add(asyncio.create_task(self._answer(pending)))
        if not self._open:
            return []
        done, self._open = await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
        return [task.result() for task in done]

    async def stop(self) -> None:
        """Cancel what is open."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _answer(self, pending: Pending) -> Answered:
        try:
            return Answered(pending.key, await gathered(self._engine.generate(pending.request), pending.request))
        except UserError as error:
            return Answered(pending.key, Refusal.of(error))


@dataclass
class _Parts:
    """The pieces of one answer so far."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tops: list[Any] = field(default_factory=list)
    text: str = ""


async def gathered(events: AsyncIterator[TokenEvent], request: CompletionRequest) -> list[Completion]:
    """The whole answers that a request's events make; seconds count from the call on."""
    began, parts = time.monotonic(), [_Parts() for _ in range(request.n)]
    made: dict[int, Completion] = {}
    async for event in events:
        part = parts[event.index]
        part.ids += event.token_ids
        part.logprobs += event.logprobs
        part.tops += event.top_logprobs
        part.text += event.text
        if event.finish_reason is not None and event.usage is not None:
            made[event.index] = Completion(
                part.text, tuple(part.ids), tuple(part.logprobs), event.finish_reason, event.usage.prompt_tokens,
                time.monotonic() - began, event.usage.cached_tokens, tuple(part.tops),
            )  # fmt: skip
    return [made[index] for index in range(request.n)]
