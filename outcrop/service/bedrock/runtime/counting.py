"""The operation CountTokens: how long the prompt of a request would be, by the tokenizer alone."""

from __future__ import annotations

from starlette.responses import Response

from outcrop.bodies.bedrock.catalog import FORMATS, format_for
from outcrop.bodies.body import read_json
from outcrop.core.errors import OutcropError
from outcrop.service.bedrock import wire
from outcrop.service.bedrock.model import RUNTIME, operation
from outcrop.service.bedrock.runtime import converse
from outcrop.service.bedrock.runtime.errors import runtime_error
from outcrop.service.bedrock.runtime.eventstream import JSON
from outcrop.service.bedrock.runtime.exchange import resolved
from outcrop.service.bedrock.runtime.state import Runtime
from outcrop.service.calls import Call
from outcrop.service.inference.answering import rendered

OPERATION = "CountTokens"


async def count(call: Call) -> Response:
    """CountTokens."""
    values = wire.parse(operation(RUNTIME, OPERATION), call.path, call.query, call.headers, call.body)
    found = await resolved(call, values["modelId"])
    pool, given = Runtime.of(call.service).pool, values["input"]
    try:
        if "converse" in given:
            ask = converse.read(given["converse"]).ask
        else:
            body = read_json(given["invokeModel"]["body"])
            ask = FORMATS.load(format_for(found.foundation, body)).read(body)
        question = await rendered(await pool.renderer(found.path), await pool.folder(found.path), ask)
    except OutcropError as error:
        raise runtime_error(error, found.asked) from error
    answer = {"inputTokens": len(question.prompt_ids)}
    return Response(wire.answer(operation(RUNTIME, OPERATION), answer), media_type=JSON)
