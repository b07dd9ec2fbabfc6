"""Bedrock's exceptions, and what becomes of ours: code, status and text as its clients know them."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from outcrop.core.errors import NotReady, OutcropError, StoreUnavailable, Unavailable, UserError

STATUSES = {
    "ValidationException": 400,
    "ConflictException": 400,
    "ServiceQuotaExceededException": 400,
    "TooManyTagsException": 400,
    "IncompleteSignatureException": 400,
    "AccessDeniedException": 403,
    "MissingAuthenticationTokenException": 403,
    "InvalidSignatureException": 403,
    "UnrecognizedClientException": 403,
    "ResourceNotFoundException": 404,
    "UnknownOperationException": 404,
    "ModelTimeoutException": 408,
    "RequestEntityTooLargeException": 413,
    "ModelErrorException": 424,
    "ModelStreamErrorException": 424,
    "ThrottlingException": 429,
    "ModelNotReadyException": 429,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}
"""HTTP status of every exception; a test compares those that botocore models."""


class BedrockError(Exception):
    """An answer of the API that is an exception. fields: further members of its shape, such as resourceName."""

    def __init__(self, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.fields = code, message, fields

    @property
    def status(self) -> int:
        """Its HTTP status."""
        return STATUSES[self.code]


def invalid(message: str) -> BedrockError:
    """The request says something that is not allowed."""
    return BedrockError("ValidationException", message)


def not_found(message: str) -> BedrockError:
    """There is nothing of this name, or it belongs to another project."""
    return BedrockError("ResourceNotFoundException", message)


def conflict(message: str) -> BedrockError:
    """What is there stands against the request."""
    return BedrockError("ConflictException", message)


def translated(error: Exception) -> BedrockError:
    """Any error as one of Bedrock's. What is our own fault says nothing of its inside: the log has it."""
    if isinstance(error, BedrockError):
        return error
    if isinstance(error, UserError):
        return invalid(str(error))
    if isinstance(error, NotReady):
        return BedrockError("ModelNotReadyException", str(error))
    if isinstance(error, Unavailable):
        return BedrockError("ThrottlingException", str(error))
    if isinstance(error, StoreUnavailable):
        return BedrockError("ServiceUnavailableException", error.message)
    if isinstance(error, OutcropError):
        return BedrockError("InternalServerException", str(error))
    return BedrockError("InternalServerException", "The server met an unexpected error. Its log says which.")


def response(error: BedrockError) -> Response:
    """The exception on the wire: its code in the header that SDKs read, its members as JSON."""
    body = json.dumps({"message": error.message, **error.fields}, ensure_ascii=False)
    # Characters that JSON cannot carry were part of the request, as lone surrogates.
    content = body.encode("utf-8", "backslashreplace")
    headers = {"x-amzn-ErrorType": error.code}
    return Response(content, error.status, headers, media_type="application/json")
