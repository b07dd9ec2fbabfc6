"""Answers over HTTP to clients that may leave: work is dropped when they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
CLIENT_CLOSED_REQUEST = 499
"""What servers note for an answer that nobody waited for."""


class Left(Exception):
    """The client left before its answer."""


async def unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, which is cancelled when the client leaves; then raises Left.

    request: one whose body was read.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request.receive))
    try:
        await asyncio.wait([doing, leaving], return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise Left
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


def for_nobody() -> Response:
    """The answer to a client that left."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


class Stream(Response):
    """A body that is made as it is sent. `closing` is closed at the end, or when the client leaves, in any case."""

    def __init__(self, pieces: AsyncIterator[bytes], closing: AsyncExitStack, media_type: str) -> None:
        super().__init__(media_type=media_type)
        self._pieces, self._closing = pieces, closing
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the client leaves."""
        async with self._closing:
            writing = asyncio.ensure_future(self._write(send))
            leaving = asyncio.ensure_future(_left(receive))
            try:
                await asyncio.wait([writing, leaving], return_when=asyncio.FIRST_COMPLETED)
                if writing.done():
                    writing.result()
            finally:
                for task in (writing, leaving):
                    task.cancel()
                await asyncio.gather(writing, leaving, return_exceptions=True)

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
