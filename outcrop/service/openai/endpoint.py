"""What chat completions and completions have in common on the wire: errors, logs, and server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from starlette.responses import Response

from outcrop.bodies.asks import Ask
from outcrop.bodies.openai.fields import Sampled
from outcrop.core.errors import UsageError
from outcrop.service.bedrock.errors import translated
from outcrop.service.bedrock.runtime.errors import runtime_error
from outcrop.service.bedrock.runtime.eventstream import encode
from outcrop.service.bedrock.runtime.exchange import Exchange, resolved
from outcrop.service.bedrock.runtime.invocation_log import Entry
from outcrop.service.bedrock.runtime.logged import logged
from outcrop.service.calls import Call, Endpoint
from outcrop.service.openai.errors import body_of, response

EVENTS = "text/event-stream"
DONE = b"data: [DONE]\n\n"

Answering = Callable[[Call, Entry, AsyncExitStack], Awaitable[Response]]


def endpoint(operation: str, answering: Answering) -> Endpoint:
    """The endpoint of an operation, logged as Bedrock's are."""
    logging = logged(operation, answering)

    async def answered(call: Call) -> Response:
        try:
            return await logging(call)
        except Exception as error:
            known = runtime_error(error, operation)
            if translated(known).status == 500:
                raise
            return response(known)

    return answered


async def exchange_with(call: Call, entry: Entry, stack: AsyncExitStack, fields: Sampled, ask: Ask) -> Exchange:
    """The exchange with the model that a body names, entered on the stack."""
    if not fields.model:
        raise UsageError("The body names no model.", "Give model, one of GET /v1/models.", "model")
    entry.model_id = fields.model
    return await stack.enter_async_context(Exchange(call, await resolved(call, fields.model), ask, entry))


async def events(chunks: AsyncIterator[dict[str, Any]], entry: Entry) -> AsyncIterator[bytes]:
    """Chunks as server-sent events, with the mark of the end; an error is the last one."""
    told: list[dict[str, Any]] = []
    entry.output = told
    try:
        async for chunk in chunks:
            told.append(chunk)
            yield _event(chunk)
        yield DONE
    except Exception as error:  # noqa: BLE001  a stream ends with what went wrong
        entry.error_code = translated(error).code
        yield _event(body_of(error)[1])


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + encode(value) + b"\n\n"
