"""What goes wrong while a model answers, as the runtime's exceptions: before an answer, or in the middle of one."""

from __future__ import annotations

from typing import Any

from outcrop.core.errors import (
    JobFailed,
    MissingDependency,
    ModelError,
    NotReady,
    StoreUnavailable,
    Unavailable,
    UserError,
)
from outcrop.service.bedrock.errors import BedrockError, translated
from outcrop.service.bedrock.runtime.eventstream import exception

MODEL_FAILED = 500
"""originalStatusCode of a model that failed: engines have no codes of their own."""
IN_STREAM = ("InternalServerException", "ValidationException", "ThrottlingException", "ServiceUnavailableException")


def runtime_error(error: Exception, model_id: str) -> Exception:
    """The error as clients know it; what is no failure of the model stays as it is."""
    if isinstance(error, NotReady):
        return BedrockError("ModelNotReadyException", _text(error))
    if isinstance(error, Unavailable):
        return BedrockError("ThrottlingException", _text(error))
    if isinstance(error, ModelError | MissingDependency):
        return BedrockError("ModelErrorException", _text(error), originalStatusCode=MODEL_FAILED, resourceName=model_id)
    if isinstance(error, UserError):
        return BedrockError("ValidationException", _text(error))
    if isinstance(error, JobFailed) and not isinstance(error, StoreUnavailable):
        return BedrockError("ModelErrorException", _text(error), originalStatusCode=MODEL_FAILED, resourceName=model_id)
    return error


def in_stream(error: Exception, model_id: str) -> bytes:
    """The message that ends a stream that had begun."""
    found = translated(runtime_error(error, model_id))
    if found.code in IN_STREAM:
        return exception(found.code[0].lower() + found.code[1:], {"message": found.message})
    fields: dict[str, Any] = {"message": found.message, "originalStatusCode": MODEL_FAILED}
    return exception("modelStreamErrorException", fields | {"originalMessage": found.message})


def _text(error: ModelError | Any) -> str:
    """The message and what to do, without the name of our own place."""
    return f"{error.message} {error.remedy}".strip()
