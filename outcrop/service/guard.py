"""What is checked before anybody is asked for a key: names of hosts, origins of browsers, sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from starlette.requests import ClientDisconnect, Request

from outcrop.service.bedrock.errors import BedrockError
from outcrop.service.spec import ServeSpec

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
LONGEST_HEADERS = 64 << 10
BODY_S = 60.0
"""Time for the body of a request to arrive."""
DISCARDED = 4
"""Of a body that is too long, so many times the limit is read and thrown away, so that clients see the answer."""


class Guard:
    """Refuses what a browser was led to send, by a rebound name (DNS) or from another site."""

    def __init__(self, spec: ServeSpec) -> None:
        own = () if spec.host in ("0.0.0.0", "::") else (_bracketed(spec.host),)
        self._hosts = {host.lower() for host in (*LOOPBACK, *own, *spec.allowed_hosts)}

    def check(self, scheme: str, headers: Iterable[tuple[str, str]]) -> None:
        """Raises AccessDeniedException for another host's name, or for a page of another origin."""
        pairs = list(headers)
        if sum(len(name) + len(value) for name, value in pairs) > LONGEST_HEADERS:
            raise BedrockError("ValidationException", f"The headers are longer than {LONGEST_HEADERS:,} bytes.")
        hosts = [value for name, value in pairs if name == "host"]
        if len(hosts) != 1 or _without_port(hosts[0]) not in self._hosts:
            text = "The Host header names another server. Further names: outcrop serve --allow-host NAME."
            raise BedrockError("AccessDeniedException", text)
        origins = [value for name, value in pairs if name == "origin"]
        if any(origin.lower() != f"{scheme}://{hosts[0]}".lower() for origin in origins):
            raise BedrockError("AccessDeniedException", "Pages of another origin may not use this server.")


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request. Raises ValidationException where it is longer than `limit` bytes, or takes too long."""
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in request.stream():
                size += len(piece)
                if size <= limit:
                    pieces.append(piece)
                elif size > limit * DISCARDED:
                    break
    except TimeoutError:
        raise BedrockError("ValidationException", f"The body did not arrive within {BODY_S:.0f} seconds.") from None
    except ClientDisconnect:
        raise BedrockError("ValidationException", "The client left before the body was whole.") from None
    if size > limit:
        raise BedrockError("ValidationException", f"The request body is longer than {limit:,} bytes.")
    return b"".join(pieces)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
