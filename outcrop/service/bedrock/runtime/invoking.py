"""The operations InvokeModel and InvokeModelWithResponseStream, in every format of bodies."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from outcrop.bodies.asks import Piece, joined
from outcrop.bodies.bedrock.catalog import FORMATS, format_for
from outcrop.bodies.bedrock.format import Chunks, Format
from outcrop.bodies.body import read_json
from outcrop.core.errors import UsageError
from outcrop.service.bedrock import constraints
from outcrop.service.bedrock.errors import invalid, translated
from outcrop.service.bedrock.model import RUNTIME, operation
from outcrop.service.bedrock.runtime.errors import in_stream, runtime_error
from outcrop.service.bedrock.runtime.eventstream import CONTENT_TYPE, JSON, encode, event
from outcrop.service.bedrock.runtime.exchange import Exchange, resolved
from outcrop.service.bedrock.runtime.invocation_log import Entry
from outcrop.service.bedrock.runtime.logged import logged
from outcrop.service.calls import Call
from outcrop.service.inference.streaming import Stream

HEADER = "x-amzn-bedrock-"
ACCEPTED = ("", "*/*", "application/*", JSON)
METRICS = "amazon-bedrock-invocationMetrics"
ONLY = {
    f"{HEADER}trace": "DISABLED",
    f"{HEADER}performanceconfig-latency": "standard",
    f"{HEADER}service-tier": "default",
    f"{HEADER}guardrailidentifier": "",
    f"{HEADER}guardrailversion": "",
    f"{HEADER}projectidentifier": "",
}
"""Headers with the one value that this service can honour."""


@dataclass
class Invoking:
    """A request in one format, and its exchange with the model."""

    format: Format
    exchange: Exchange
    echoed: dict[str, str]

    @classmethod
    async def begin(cls, call: Call, entry: Entry, stack: AsyncExitStack) -> Invoking:
        """Parse, resolve, load and render. Raises BedrockError."""
        entry.model_id = call.path["modelId"]
        members = {"modelId": entry.model_id}
        if wrong := list(constraints.problems(operation(RUNTIME, entry.operation).input, members)):
            raise constraints.as_error(wrong)
        echoed = _check_headers(call.headers, "accept" if entry.operation == "InvokeModel" else f"{HEADER}accept")
        entry.metadata = _metadata(call.headers.get(f"{HEADER}request-metadata", ""))
        found = await resolved(call, entry.model_id)
        try:
            body = read_json(call.body)
            if body.get("model") in (found.asked, found.name, found.arn):
                del body["model"]
            format = FORMATS.load(format_for(found.foundation, body))
            ask = format.read(body)
        except UsageError as error:
            raise runtime_error(error, found.asked) from error
        return cls(format, await stack.enter_async_context(Exchange(call, found, ask, entry)), echoed)

    def metrics(self, entry: Entry) -> dict[str, int]:
        """What the last chunk of a stream tells."""
        return {
            "inputTokenCount": entry.input_tokens,
            "outputTokenCount": entry.output_tokens,
            "invocationLatency": self.exchange.latency_ms,
            "firstByteLatency": self.exchange.first_ms,
        }


async def _answer(call: Call, entry: Entry, stack: AsyncExitStack) -> Response:
    invoking = await Invoking.begin(call, entry, stack)
    answers = await invoking.exchange.whole()
    cached = answers[0].ending.usage.cached_tokens
    body = encode(invoking.format.write(answers, invoking.exchange.context))
    entry.output = body
    headers = {
        f"{HEADER}input-token-count": str(entry.input_tokens),
        f"{HEADER}output-token-count": str(entry.output_tokens),
        f"{HEADER}cache-read-input-token-count": str(cached),
        f"{HEADER}cache-write-input-token-count": "0",
        f"{HEADER}invocation-latency": str(invoking.exchange.latency_ms),
        **invoking.echoed,
    }
    return Response(body, headers=headers, media_type=JSON)


async def _stream(call: Call, entry: Entry, stack: AsyncExitStack) -> Response:
    """The first piece is made before the answer begins, so that what fails until then is an answer of its own."""
    invoking = await Invoking.begin(call, entry, stack)
    pieces = await stack.enter_async_context(aclosing(invoking.exchange.pieces()))
    first = await anext(pieces)
    response = Stream(_messages(invoking, entry, first, pieces), stack.pop_all(), CONTENT_TYPE)
    response.headers.update({f"{HEADER}content-type": JSON, **invoking.echoed})
    return response


async def _messages(
    invoking: Invoking, entry: Entry, first: Piece, pieces: AsyncGenerator[Piece, None]
) -> AsyncIterator[bytes]:
    writer, told = invoking.format.stream(invoking.exchange.context), [first]
    try:
        waiting = [*writer.begin(), *writer.piece(first)]
        async for piece in pieces:
            # The last chunk carries the metrics, so one is always held back.
            for chunk in waiting:
                yield _chunk(chunk)
            told.append(piece)
            waiting = writer.piece(piece)
        for chunk in waiting[:-1]:
            yield _chunk(chunk)
        yield _chunk(waiting[-1] | {METRICS: invoking.metrics(entry)})
    except Exception as error:  # noqa: BLE001  a stream ends with what went wrong
        entry.error_code = translated(error).code
        yield in_stream(error, invoking.exchange.found.asked)
    finally:
        entry.output = _logged_chunks(invoking, told)


def _logged_chunks(invoking: Invoking, told: list[Piece]) -> Chunks:
    """The chunks as they would have been with the text in one piece."""
    writer = invoking.format.stream(invoking.exchange.context)
    by_answer = [[piece for piece in told if piece.number == number] for number in range(invoking.exchange.ask.n)]
    return [*writer.begin(), *(chunk for own in by_answer if own for chunk in writer.piece(joined(own)))]


def _chunk(value: Mapping[str, Any]) -> bytes:
    return event("chunk", {"bytes": base64.b64encode(encode(value)).decode()})


def _check_headers(headers: Mapping[str, str], accept: str) -> dict[str, str]:
    """The headers that the answer repeats. Raises ValidationException for what cannot be honoured."""
    if (given := headers.get("content-type", "").partition(";")[0].strip().lower()) not in ("", JSON):
        raise invalid(f"The content type is {given}. Allowed: {JSON}.")
    if (wanted := headers.get(accept, "").partition(";")[0].strip().lower()) not in ACCEPTED:
        raise invalid(f"The accepted type is {wanted}. Allowed: {JSON}.")
    for name, only in ONLY.items():
        if headers.get(name, only) != only:
            raise invalid(f"{name} is {headers[name][:100]}, which this service cannot honour. Leave it out.")
    return {name: headers[name] for name in list(ONLY)[1:3] if name in headers}


def _metadata(text: str) -> dict[str, str]:
    """Request metadata, which InvokeModel takes as JSON in a header, by Converse's rules."""
    if not text:
        return {}
    shape = operation(RUNTIME, "Converse").input.members["requestMetadata"]
    try:
        value = read_json(text.encode("latin-1"))
    except UsageError as error:
        raise invalid(f"The request metadata: {error}") from None
    if not all(isinstance(part, str) for part in value.values()):
        raise invalid("The request metadata must be an object of strings.")
    if wrong := list(constraints.CHECKERS["map"](shape, value, "requestMetadata")):
        raise constraints.as_error(wrong)
    return value


answer_endpoint = logged("InvokeModel", _answer)
stream_endpoint = logged("InvokeModelWithResponseStream", _stream)
