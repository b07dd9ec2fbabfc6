"""The routes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Iterator

from outcrop.core.catalog import Catalog
from outcrop.service.calls import Endpoint
from outcrop.service.routes import MIB, Route

HERE = "outcrop.service.openai"
PREFIXES = ("/v1/models", "/v1/chat/", "/v1/completions")
"""Paths whose errors are OpenAI's; Bedrock has others below /v1."""

ENDPOINTS: Catalog[Endpoint] = Catalog(
    "operation of OpenAI's API",
    {
        "ListModels": f"{HERE}.models:list_all",
        "RetrieveModel": f"{HERE}.models:get",
        "CreateChatCompletion": f"{HERE}.chatting:chat_endpoint",
        "CreateCompletion": f"{HERE}.completing:completion_endpoint",
    },
)

PATHS = {
    "ListModels": ("GET", "/v1/models"),
    "RetrieveModel": ("GET", "/v1/models/{model}"),
    "CreateChatCompletion": ("POST", "/v1/chat/completions"),
    "CreateCompletion": ("POST", "/v1/completions"),
}


def routes(body_bytes: int) -> Iterator[Route]:
    """All of them. body_bytes: the longest body of a request for text."""
    for name, (method, path) in PATHS.items():
        yield Route(method, path, name, ENDPOINTS.load(name), body_bytes=body_bytes if method == "POST" else MIB)
