"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from starlette.responses import Response

from outcrop.bodies.asks import Piece
from outcrop.bodies.body import read_json
from outcrop.bodies.openai import chat
from outcrop.service.bedrock.runtime.eventstream import JSON, encode
from outcrop.service.bedrock.runtime.invocation_log import Entry
from outcrop.service.calls import Call
from outcrop.service.inference.streaming import Stream
from outcrop.service.openai.endpoint import EVENTS, endpoint, events, exchange_with


async def _chat(call: Call, entry: Entry, stack: AsyncExitStack) -> Response:
    """A stream begins when its first piece is made, so that what fails until then is an answer of its own."""
    fields, ask = chat.read(read_json(call.body))
    exchange = await exchange_with(call, entry, stack, fields, ask)
    if fields.stream:
        pieces = await stack.enter_async_context(aclosing(exchange.pieces()))
        first = await anext(pieces)
        chunks = _chunks(chat.ChatStream(exchange.context), first, pieces)
        return Stream(events(chunks, entry), stack.pop_all(), EVENTS)
    body = encode(chat.write(await exchange.whole(), exchange.context))
    entry.output = body
    return Response(body, media_type=JSON)


async def _chunks(writer: chat.ChatStream, first: Piece, pieces: AsyncIterator[Piece]) -> AsyncIterator[dict[str, Any]]:
    for chunk in (*writer.begin(), *writer.piece(first)):
        yield chunk
    async for piece in pieces:
        for chunk in writer.piece(piece):
            yield chunk


chat_endpoint = endpoint("ChatCompletion", _chat)
