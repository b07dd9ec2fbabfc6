"""Bodies of requests: their fields, and the refusal of all that is missing, unknown or out of bounds, at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from outcrop.core.errors import UsageError

LONGEST_SHOWN = 80
LEFT_OUT: Any = None
"""As the default of a field that may be left out, but not be null."""


class Body(BaseModel):
    """Base of all bodies: frozen, no conversions, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True)

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Documented fields that this service cannot honour, each with the values that ask for nothing (null besides)."""

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """Check a JSON object. Raises UsageError with every problem; `where` is the path of the first."""
        problems = [
            (name, f"#: key [{name}] is not supported by this service")
            for name, neutral in cls.unsupported.items()
            if value.get(name) is not None and value[name] not in neutral
        ]
        try:
            body = cls.model_validate({name: field for name, field in value.items() if name not in cls.unsupported})
        except ValidationError as error:
            problems += [(_path(each), _sentence(each, cls)) for each in error.errors(include_url=False)]
        if problems:
            text = "; ".join(sentence for _, sentence in problems)
            raise UsageError(
                f"Malformed input request: {text}.", "Please reformat your input and try again.", problems[0][0]
            )
        return body


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object in the bytes of a body. Raises UsageError for anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise UsageError("The body is not JSON.", "Send a JSON object in UTF-8.") from None
    if not isinstance(value, dict):
        raise UsageError("The body is not a JSON object.", "Send one, such as {}.")
    return value


def suggestion(given: str, allowed: Iterable[str]) -> str:
    """ "; did you mean NAME", or what is allowed, for the end of a sentence."""
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}" if near else f"; allowed: {', '.join(names)}"


def _sentence(problem: ErrorDetails, body: type[BaseModel]) -> str:
    location = problem["loc"]
    above = "#" + "".join(f"/{part}" for part in location[:-1])
    if problem["type"] == "missing":
        return f"{above}: required key [{location[-1]}] not found"
    if problem["type"] == "extra_forbidden":
        hint = suggestion(str(location[-1]), _names(body, location[:-1]))
        return f"{above}: extraneous key [{location[-1]}] is not permitted{hint}"
    reason = problem["msg"].removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], dict | list) else f" (given: {problem['input']!r:.{LONGEST_SHOWN}})"
    return f"#{'' if not location else '/' + '/'.join(map(str, location))}: {reason[0].lower()}{reason[1:]}{given}"


def _path(problem: ErrorDetails) -> str:
    return ".".join(map(str, problem["loc"]))


def _names(body: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The names of the fields of the object at a path, as far as the types tell."""
    for part in path:
        if isinstance(part, str) and part in _aliases(body):
            kinds = _models_in(_aliases(body)[part])
            body = kinds[0] if kinds else body
    return list(_aliases(body))


def _aliases(body: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in body.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
