"""AWS's query protocol: form fields into Python values, and answers into XML, by the shapes of botocore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from starlette.responses import Response

from outcrop.service.bedrock import constraints
from outcrop.service.bedrock.errors import BedrockError
from outcrop.service.bedrock.model import service_model
from outcrop.service.bedrock.wire import moment

MANY_FIELDS = 500
XML = "text/xml"
CODES = {
    "ValidationException": "ValidationError", "AccessDeniedException": "AccessDenied",
    "UnrecognizedClientException": "InvalidClientTokenId", "InvalidSignatureException": "SignatureDoesNotMatch",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken", "ResourceNotFoundException": "NoSuchEntity",
    "IncompleteSignatureException": "IncompleteSignature", "ConflictException": "EntityAlreadyExists",
    "UnknownOperationException": "InvalidAction", "ServiceUnavailableException": "ServiceUnavailable",
    "ThrottlingException": "Throttling",
}  # fmt: skip
"""Bedrock's exceptions → what the query services call them."""


def fields(body: bytes) -> dict[str, str]:
    """The fields of a form. Raises ValidationException where they cannot be read."""
    try:
        text = body.decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MANY_FIELDS, errors="strict"))
    except ValueError:
        text = f"The body is not a form, or has more than {MANY_FIELDS} fields."
        raise BedrockError("ValidationException", text) from None


def parse(shape: Any, given: Mapping[str, str]) -> dict[str, Any]:
    """The members of a request, checked. Raises ValidationException with all that is wrong."""
    values = _structure(shape, given) if shape is not None else {}
    if wrong := list(constraints.problems(shape, values)) if shape is not None else []:
        raise constraints.as_error(wrong)
    return values


def _structure(shape: Any, given: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for name, part in shape.members.items():
        if part.type_name == "list":
            if items := _list(part, _below(given, f"{name}.member")):
                values[name] = items
        elif name in given:
            values[name] = _scalar(part.type_name, name, given[name])
    return values


def _list(shape: Any, given: Mapping[str, str]) -> list[Any]:
    numbers = sorted({int(name.partition(".")[0]) for name in given if name.partition(".")[0].isdecimal()})
    if shape.member.type_name == "structure":
        return [_structure(shape.member, _below(given, str(number))) for number in numbers]
    return [given[str(number)] for number in numbers if str(number) in given]


def _below(given: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(f"{prefix}."): value for name, value in given.items() if name.startswith(f"{prefix}.")}


def _scalar(kind: str, name: str, text: str) -> Any:
    if kind in ("integer", "long"):
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise BedrockError("ValidationException", f"{name} must be a whole number.")
        return int(text)
    return text == "true" if kind == "boolean" else text


def answer(service: str, action: str, values: Mapping[str, Any], request_id: str) -> Response:
    """A success."""
    model = service_model(service)
    shape = model.operation_model(action).output_shape
    wrapper = shape.serialization.get("resultWrapper") if shape is not None else None
    inner = "".join(_xml(name, shape.members[name], value) for name, value in values.items()) if shape else ""
    result = f"<{wrapper}>{inner}</{wrapper}>" if wrapper else ""
    version = model.metadata["xmlNamespace"]
    about = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    return Response(f'<{action}Response xmlns="{version}">{result}{about}</{action}Response>', media_type=XML)


def _xml(name: str, shape: Any, value: Any) -> str:
    if value is None:
        return ""
    if shape.type_name == "structure":
        inner = "".join(_xml(part, shape.members[part], each) for part, each in value.items())
    elif shape.type_name == "list":
        inner = "".join(_xml("member", shape.member, each) for each in value)
    elif shape.type_name == "timestamp":
        inner = moment(value)
    elif shape.type_name == "boolean":
        inner = str(value).lower()
    else:
        inner = escape(str(value))
    return f"<{name}>{inner}</{name}>"


def failed(error: BedrockError, request_id: str) -> Response:
    """An error."""
    kind = "Sender" if error.status < 500 else "Receiver"
    code = error.fields.get("query_code") or CODES.get(error.code, "ServiceFailure")
    told = f"<Type>{kind}</Type><Code>{code}</Code><Message>{escape(error.message)}</Message>"
    text = f"<ErrorResponse><Error>{told}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    status = 409 if error.code == "ConflictException" else error.status
    return Response(text.encode("utf-8", "backslashreplace"), status, media_type=XML)
