"""The routes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Iterator

from outcrop.core.catalog import Catalog
from outcrop.service.calls import Endpoint
from outcrop.service.routes import MIB, Route

HERE = "outcrop.service.openai"
PREFIX = "/v1/"

ENDPOINTS: Catalog[Endpoint] = Catalog(
    "operation of OpenAI's API",
    {
        "GET /v1/models": f"{HERE}.models:list_all",
        "GET /v1/models/{model}": f"{HERE}.models:get",
        "POST /v1/chat/completions": f"{HERE}.chatting:chat_endpoint",
        "POST /v1/completions": f"{HERE}.completing:completion_endpoint",
    },
)


def routes(body_bytes: int) -> Iterator[Route]:
    """All of them. body_bytes: the longest body of a request for text."""
    for name in ENDPOINTS:
        method, _, path = name.partition(" ")
        yield Route(method, path, name, ENDPOINTS.load(name), body_bytes=body_bytes if method == "POST" else MIB)
