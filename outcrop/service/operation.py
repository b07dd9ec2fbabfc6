"""What operators ask of the server: is it alive, is it ready, how is it doing."""

from __future__ import annotations

import json
from collections.abc import Iterator

from anyio.to_thread import run_sync
from starlette.responses import Response

from outcrop.core.errors import StoreUnavailable
from outcrop.service.calls import Call
from outcrop.service.metrics import CONTENT_TYPE
from outcrop.service.routes import Route


def routes() -> Iterator[Route]:
    """Health and readiness are open: whoever watches a process has no key. They tell nothing but a word."""
    for method in ("GET", "HEAD"):
        yield Route(method, "/health", "Health", health, open=True)
        yield Route(method, "/ready", "Ready", ready, open=True)
    yield Route("GET", "/metrics", "Metrics", metrics)


async def health(call: Call) -> Response:
    """200 as long as the process answers."""
    return _word("alive", 200)


async def ready(call: Call) -> Response:
    """200 if requests can be worked on, 503 while the database is away or the server ends."""
    if call.service.is_ending:
        return _word("ending", 503)
    try:
        await run_sync(call.service.projects.all)
    except StoreUnavailable:
        return _word("database away", 503)
    return _word("ready", 200)


async def metrics(call: Call) -> Response:
    """All metrics, for Prometheus: it sends a bearer key."""
    return Response(await run_sync(call.service.metrics.text), media_type=CONTENT_TYPE)


def _word(word: str, status: int) -> Response:
    return Response(json.dumps({"status": word}), status, media_type="application/json")
