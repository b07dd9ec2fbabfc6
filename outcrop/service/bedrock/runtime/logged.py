"""Endpoints whose invocations are logged, and which stop when the client leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from starlette.responses import Response

from outcrop.service.bedrock.errors import translated
from outcrop.service.bedrock.runtime.invocation_log import Entry
from outcrop.service.bedrock.runtime.state import Runtime
from outcrop.service.calls import Call, Endpoint
from outcrop.service.inference.streaming import Left, for_nobody, unless_left

Answering = Callable[[Call, Entry, AsyncExitStack], Awaitable[Response]]
"""Answers a call. A stream takes what it holds with it from the stack; what is left there is closed at once."""


def logged(operation: str, answering: Answering) -> Endpoint:
    """The endpoint of an operation."""

    async def endpoint(call: Call) -> Response:
        entry = Entry.of(call, operation)

        async def work() -> Response:
            async with AsyncExitStack() as stack:
                stack.callback(Runtime.of(call.service).log.write, entry)
                try:
                    return await answering(call, entry, stack)
                except Exception as error:
                    entry.error_code = translated(error).code
                    raise

        try:
            return await unless_left(call.request, work())
        except Left:
            return for_nobody()

    return endpoint
