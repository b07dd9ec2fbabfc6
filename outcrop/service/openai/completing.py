"""POST /v1/completions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, NamedTuple

from starlette.responses import Response

from outcrop.bodies.asks import Ask, Piece, total
from outcrop.bodies.body import read_json
from outcrop.bodies.openai import completions
from outcrop.bodies.openai.completions import CompletionBody, CompletionWriter
from outcrop.bodies.openai.fields import StreamedTokens, usage
from outcrop.core.engines import Usage
from outcrop.core.errors import UsageError
from outcrop.service.bedrock.runtime.eventstream import JSON, encode
from outcrop.service.bedrock.runtime.exchange import Exchange
from outcrop.service.bedrock.runtime.invocation_log import Entry
from outcrop.service.calls import Call
from outcrop.service.inference.streaming import Stream
from outcrop.service.openai.endpoint import EVENTS, endpoint, events, exchange_with

AT_ONCE = 16
"""Prompts of one request that are answered at a time."""


class Completed(NamedTuple):
    """The answers to one prompt."""

    head: dict[str, Any]
    choices: list[dict[str, Any]]
    spent: Usage


async def _complete(call: Call, entry: Entry, stack: AsyncExitStack) -> Response:
    fields, asks = completions.read(read_json(call.body))
    if fields.stream:
        return await _stream(call, entry, stack, fields, asks)
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, ask: Ask) -> Completed:
        async with places, AsyncExitStack() as own:
            return await _completed(await exchange_with(call, entry, own, fields, ask), number)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number, ask)) for number, ask in enumerate(asks)]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors.exceptions[0].__cause__
    done = [task.result() for task in tasks]
    spent = [sum(counts) for counts in zip(*(_counts(each.spent) for each in done), strict=True)]
    choices = [choice for each in done for choice in each.choices]
    body = encode(done[0].head | {"choices": choices, "usage": usage(*spent)})
    entry.input_tokens, entry.output_tokens, entry.output = spent[0], spent[2], body
    return Response(body, media_type=JSON)


async def _completed(exchange: Exchange, number: int) -> Completed:
    context = exchange.context
    writer, head = CompletionWriter(context, first=number * context.ask.n), completions.head(context)
    if context.ask.sampling.max_new_tokens == 0:
        return Completed(head, writer.prompt_alone(context.ask.n), Usage(context.prompt_tokens, 0, 0))
    answers = await exchange.whole()
    return Completed(head, writer.whole(answers), total(answers))


async def _stream(
    call: Call, entry: Entry, stack: AsyncExitStack, fields: CompletionBody, asks: Sequence[Ask]
) -> Response:
    """It begins when its first piece is made, so that what fails until then is an answer of its own."""
    if len(asks) != 1 or fields.max_tokens == 0:
        raise UsageError("A stream has one prompt and an answer.", "Send a request for each prompt.", "prompt")
    exchange = await exchange_with(call, entry, stack, fields, asks[0])
    pieces = await stack.enter_async_context(aclosing(exchange.pieces()))
    first = await anext(pieces)
    return Stream(events(_chunks(exchange, first, pieces), entry), stack.pop_all(), EVENTS)


async def _chunks(exchange: Exchange, first: Piece, pieces: AsyncIterator[Piece]) -> AsyncIterator[dict[str, Any]]:
    context = exchange.context
    writer, head, tokens = CompletionWriter(context), completions.head(context), StreamedTokens(context)
    for number in range(context.ask.n):
        if echo := writer.echo(number):
            yield head | {"choices": echo}
    yield head | {"choices": writer.piece(first)}
    if counted := tokens.after(first):
        yield head | {"choices": [], "usage": counted}
    async for piece in pieces:
        yield head | {"choices": writer.piece(piece)}
        if counted := tokens.after(piece):
            yield head | {"choices": [], "usage": counted}


def _counts(spent: Usage) -> tuple[int, int, int]:
    return spent.prompt_tokens, spent.cached_tokens, spent.completion_tokens


completion_endpoint = endpoint("Completion", _complete)
