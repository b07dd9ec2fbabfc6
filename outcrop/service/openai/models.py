"""The operations on models: which ones a project can ask, by the names that it can ask them by."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import Response

from outcrop.core.errors import OutcropError
from outcrop.service.bedrock.errors import BedrockError
from outcrop.service.bedrock.registry import MODEL_KINDS, resolve
from outcrop.service.bedrock.runtime.eventstream import JSON, encode
from outcrop.service.calls import Call
from outcrop.service.openai.errors import response
from outcrop.store.resources import Filter, Position

PAGE = 500


async def list_all(call: Call) -> Response:
    """GET /v1/models."""
    found = await run_sync(lambda: list(_models(call)))
    return Response(encode({"object": "list", "data": found}), media_type=JSON)


async def get(call: Call) -> Response:
    """GET /v1/models/{model}."""
    try:
        found = await run_sync(partial(resolve, call.service, call.project, call.path["model"]))
    except (BedrockError, OutcropError) as error:
        return response(error)
    return Response(encode(_model(call.path["model"], 0, found.kind)), media_type=JSON)


def _models(call: Call) -> Iterator[dict[str, Any]]:
    for model in call.service.foundation:
        yield _model(model.name, 0, model.model.shown_provider.lower())
    for kind in MODEL_KINDS:
        position: Position | None = None
        while page := call.service.resources.page(call.project, Filter(kind.name, status="Active"), PAGE, position):
            for resource in page:
                yield _model(resource.name, int(resource.created), call.project.name)
            position = Position(page[-1].created, page[-1].id)


def _model(name: str, created: int, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}
