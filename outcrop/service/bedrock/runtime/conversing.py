"""The operations Converse and ConverseStream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from outcrop.bodies.asks import Answer, Piece, joined, whole
from outcrop.bodies.bedrock.catalog import FORMATS, family_format
from outcrop.bodies.bedrock.format import STOP_REASONS
from outcrop.service.bedrock import wire
from outcrop.service.bedrock.errors import translated
from outcrop.service.bedrock.model import RUNTIME, operation
from outcrop.service.bedrock.runtime import converse
from outcrop.service.bedrock.runtime.converse import ConverseRequest
from outcrop.service.bedrock.runtime.errors import in_stream, runtime_error
from outcrop.service.bedrock.runtime.eventstream import CONTENT_TYPE, JSON, event
from outcrop.service.bedrock.runtime.exchange import Exchange, resolved
from outcrop.service.bedrock.runtime.invocation_log import Entry
from outcrop.service.bedrock.runtime.logged import logged
from outcrop.service.calls import Call
from outcrop.service.inference.streaming import Stream

PLAIN = "bedrock-completion"
"""The native format that response fields are taken from, for models of no family."""

Events = list[tuple[str, Mapping[str, Any]]]


@dataclass
class Conversing:
    """A request and its exchange with the model."""

    request: ConverseRequest
    exchange: Exchange

    @classmethod
    async def begin(cls, call: Call, entry: Entry, stack: AsyncExitStack) -> Conversing:
        """Parse, resolve, load and render. Raises BedrockError."""
        values = wire.parse(operation(RUNTIME, entry.operation), call.path, call.query, call.headers, call.body)
        entry.model_id, entry.metadata = values["modelId"], values.get("requestMetadata") or {}
        found = await resolved(call, entry.model_id)
        family = family_format(found.foundation)
        try:
            request = converse.read(values, FORMATS.load(family).defaults if family else converse.GREEDY)
        except Exception as error:
            raise runtime_error(error, found.asked) from error
        return cls(request, await stack.enter_async_context(Exchange(call, found, request.ask, entry)))

    def native(self, answer: Answer) -> dict[str, Any]:
        """The answer in the family's own format."""
        name = family_format(self.exchange.found.foundation) or PLAIN
        return FORMATS.load(name).write([answer], self.exchange.context)

    def events(self, piece: Piece) -> Events:
        """The events of a piece of text."""
        value = {"contentBlockIndex": 0, "delta": {"text": piece.text}}
        return [("contentBlockDelta", value)] if piece.text else []

    def end(self, answer: Answer) -> Events:
        """The events after the last piece."""
        stop: dict[str, Any] = {"stopReason": STOP_REASONS[answer.ending.reason]}
        if self.request.paths:
            stop["additionalModelResponseFields"] = converse.fields_at(self.request.paths, self.native(answer))
        return [
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", stop),
            ("metadata", converse.tail(answer, self.request, self.exchange.latency_ms)),
        ]


START: Events = [("messageStart", {"role": "assistant"})]


async def _answer(call: Call, entry: Entry, stack: AsyncExitStack) -> Response:
    talk = await Conversing.begin(call, entry, stack)
    [answer] = await talk.exchange.whole()
    values = converse.result(answer, talk.request, talk.exchange.latency_ms, talk.native(answer))
    body = wire.answer(operation(RUNTIME, entry.operation), values)
    entry.output = body
    return Response(body, media_type=JSON)


async def _stream(call: Call, entry: Entry, stack: AsyncExitStack) -> Response:
    """The first piece is made before the answer begins, so that what fails until then is an answer of its own."""
    talk = await Conversing.begin(call, entry, stack)
    pieces = await stack.enter_async_context(aclosing(talk.exchange.pieces()))
    first = await anext(pieces)
    return Stream(_messages(talk, entry, first, pieces), stack.pop_all(), CONTENT_TYPE)


async def _messages(
    talk: Conversing, entry: Entry, first: Piece, pieces: AsyncGenerator[Piece, None]
) -> AsyncIterator[bytes]:
    told = [first]
    end: Events = []
    try:
        for kind, value in (*START, *talk.events(first)):
            yield event(kind, value)
        async for piece in pieces:
            told.append(piece)
            for kind, value in talk.events(piece):
                yield event(kind, value)
        end = talk.end(whole(told, 1)[0])
        for kind, value in end:
            yield event(kind, value)
    except Exception as error:  # noqa: BLE001  a stream ends with what went wrong
        entry.error_code = translated(error).code
        yield in_stream(error, talk.exchange.found.asked)
    finally:
        entry.output = [{kind: value} for kind, value in (*START, *talk.events(joined(told)), *end)]


answer_endpoint = logged("Converse", _answer)
stream_endpoint = logged("ConverseStream", _stream)
