"""Errors as OpenAI's clients know them."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from outcrop.core.errors import NotReady, UserError
from outcrop.service.bedrock.errors import BedrockError, translated
from outcrop.service.bedrock.runtime.eventstream import JSON, encode

KEY_ERRORS = ("MissingAuthenticationTokenException", "UnrecognizedClientException", "InvalidSignatureException")
STATUSES = {"ModelNotReadyException": 503, "ModelErrorException": 500, "ModelTimeoutException": 504}
"""Where OpenAI's status is another than Bedrock's."""
RETRY_AFTER_S = 5


def body_of(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body of an error."""
    found = translated(error)
    status = 401 if _is_key_error(found) else STATUSES.get(found.code, found.status)
    kind, code = _kind(status)
    cause = error.__cause__ if isinstance(error, BedrockError) else error
    param = (cause.where or None) if isinstance(cause, UserError) else None
    return status, {"error": {"message": found.message, "type": kind, "param": param, "code": code}}


def response(error: Exception) -> Response:
    """The error on the wire."""
    status, body = body_of(error)
    not_ready = isinstance(error, NotReady) or translated(error).code == "ModelNotReadyException"
    headers = {"retry-after": str(RETRY_AFTER_S)} if not_ready else {}
    return Response(encode(body), status, headers, media_type=JSON)


def _is_key_error(error: BedrockError) -> bool:
    return error.code in KEY_ERRORS or (error.code == "AccessDeniedException" and "API Key" in error.message)


def _kind(status: int) -> tuple[str, str | None]:
    """OpenAI's type and code."""
    if status == 401:
        return "invalid_request_error", "invalid_api_key"
    if status == 403:
        return "permission_error", None
    if status == 404:
        return "invalid_request_error", "model_not_found"
    if status == 429:
        return "rate_limit_error", "rate_limit_exceeded"
    return ("invalid_request_error", None) if status < 500 else ("server_error", None)
