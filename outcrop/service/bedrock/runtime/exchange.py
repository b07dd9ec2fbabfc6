"""One request to a model, from its question to the last piece of its answer, with its times and tokens."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from functools import partial
from types import TracebackType
from typing import Self

from anyio.to_thread import run_sync

from outcrop.bodies.asks import Answer, Ask, Piece, whole
from outcrop.bodies.replies import Context
from outcrop.models.rendering import Renderer
from outcrop.service.bedrock.registry import ResolvedModel, resolve
from outcrop.service.bedrock.runtime.errors import runtime_error
from outcrop.service.bedrock.runtime.invocation_log import Entry
from outcrop.service.bedrock.runtime.state import Runtime
from outcrop.service.calls import Call
from outcrop.service.inference import answering
from outcrop.service.inference.answering import Prepared, Seat
from outcrop.service.inference.pool import Model


async def resolved(call: Call, identifier: str) -> ResolvedModel:
    """The model that a client means. Raises as the registry does."""
    return await run_sync(partial(resolve, call.service, call.project, identifier))


class Exchange:
    """While it is entered, the model is held in memory. entry: of the log, where tokens are counted."""

    context: Context
    _published: Piece | None = None

    def __init__(self, call: Call, found: ResolvedModel, ask: Ask, entry: Entry) -> None:
        self._runtime, self.found, self.ask, self.entry = Runtime.of(call.service), found, ask, entry
        self.seat = Seat(f"{call.caller.key_id}/{ask.user}", found.provisioned_arn or "")
        self._request_id = call.request_id
        self._stack, self._tokens = AsyncExitStack(), dict[int, int]()
        self._began, self._first = time.perf_counter(), 0.0

    async def __aenter__(self) -> Self:
        """Load the model, render the question. Raises BedrockError."""
        try:
            await self._begin()
        except BaseException as error:
            await self._stack.aclose()
            if isinstance(error, Exception):
                raise runtime_error(error, self.found.asked) from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """The pieces of the answers as they come. Raises BedrockError."""
        if self._published is not None:
            self._count(self._published)
            yield self._published
            return
        try:
            async with aclosing(answering.pieces(self._model, self._prepared, self.seat)) as found:
                async for piece in found:
                    self._first = self._first or time.perf_counter()
                    self._count(piece)
                    yield piece
        except Exception as error:
            raise runtime_error(error, self.found.asked) from error

    async def whole(self) -> list[Answer]:
        """All answers, when they are written. Raises BedrockError."""
        return whole([piece async for piece in self.pieces()], self.ask.n)

    @property
    def latency_ms(self) -> int:
        """From the beginning until now."""
        return _milliseconds(time.perf_counter() - self._began)

    @property
    def first_ms(self) -> int:
        """From the beginning to the first text."""
        return _milliseconds((self._first or time.perf_counter()) - self._began)

    def _count(self, piece: Piece) -> None:
        """Tokens so far; an answer that has ended counts its last one too."""
        self._tokens[piece.number] = self._tokens.get(piece.number, 0) + len(piece.token_ids)
        if piece.ending is not None:
            self._tokens[piece.number] = piece.ending.usage.completion_tokens
        self.entry.output_tokens = sum(self._tokens.values())

    async def _begin(self) -> None:
        if self.found.provisioned_arn:
            await self._runtime.provisioning.hold(self.found.provisioned_arn, self.found.path, self.found.model_units)
        if await self._is_published():
            return
        self._model: Model = await self._stack.enter_async_context(self._runtime.pool.use(self.found.path))
        self._prepared: Prepared = await answering.prepare(self._model, self.ask)
        ids = self._prepared.request.prompt_ids
        self.entry.input_tokens = len(ids)
        scores: tuple[float, ...] = ()
        if self.ask.echo and self.ask.logprobs:
            scores = await answering.prompt_logprobs(self._model, ids, self.seat)
        self.context = self._context_of(self._model.renderer, ids, scores)

    async def _is_published(self) -> bool:
        """Whether the answer was found published: then no model is loaded."""
        published, pool = self._runtime.published, self._runtime.pool
        if published is None or not published.is_any:
            return False
        known, renderer = await pool.known(self.found.path), await pool.renderer(self.found.path)
        answer = await published.find(known.asking_digest, known.folder, renderer, self.ask)
        if answer is None:
            return False
        question = await answering.rendered(renderer, known.folder, self.ask)
        self._published = answering.published_piece(renderer, question, self.ask.sampling, answer)
        self.entry.input_tokens = len(question.prompt_ids)
        self.context = self._context_of(renderer, question.prompt_ids)
        return True

    def _context_of(self, renderer: Renderer, ids: tuple[int, ...], scores: tuple[float, ...] = ()) -> Context:
        return Context(
            self.found.asked, self._request_id, int(time.time()), self.ask, ids, renderer.token_texts, scores,
            renderer.token_bytes,
        )  # fmt: skip


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
