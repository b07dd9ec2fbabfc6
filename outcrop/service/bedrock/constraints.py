"""Every bound, enumeration and pattern that Bedrock documents, checked on values that were parsed already.

botocore checks none of them before it sends. Patterns run in Rust's regex engine, in linear time: some of Bedrock's
would keep Python's busy for years with one hostile name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from pydantic_core import SchemaValidator, ValidationError, core_schema

from outcrop.service.bedrock.errors import BedrockError, invalid

SHOWN_CHARACTERS = 200
"""Of a wrong value, in a message."""
SHOWN_PROBLEMS = 20
LOCATIONS = ("S3Uri", "S3UriFolder")
"""Shapes that may hold file:// besides s3://: the store of artifacts knows which folders are allowed."""

OWN_MODEL = r"arn:aws:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:(custom|imported|provisioned)-model/[a-z0-9.:/-]{12,140}"
WIDER = dict.fromkeys(
    (
        "ModelId", "EvaluationBedrockModelIdentifier", "ConversationalModelId", "InvokeModelIdentifier",
        "TeacherModelIdentifier", "EvaluatorModelIdentifier",
    ),
    OWN_MODEL,
)
"""Shape → another pattern that is good, too: the runtime, batch inference, evaluation and distillation take every
model here."""


def problems(shape: Any, value: dict[str, Any]) -> Iterator[str]:
    """Every constraint that the members of a structure fail, in Bedrock's words."""
    return _structure(shape, value, "")


def as_error(found: list[str]) -> BedrockError:
    """One exception for all problems, in Bedrock's words."""
    noun = "error" if len(found) == 1 else "errors"
    more = len(found) - SHOWN_PROBLEMS
    shown = "; ".join(found[:SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
    return invalid(f"{len(found)} validation {noun} detected: {shown}")


def _any(shape: Any, value: Any, path: str) -> Iterator[str]:
    if getattr(shape, "is_document_type", False):
        return iter(())
    checker = CHECKERS.get(shape.type_name)
    return checker(shape, value, path) if checker else iter(())


def _structure(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    if shape.metadata.get("union") and len(value) != 1:
        yield f"Value at '{path}' failed to satisfy constraint: Exactly one member of {_names(shape)} must be set"
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"Value at '{_below(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, part in value.items():
        if name not in shape.members:
            near = difflib.get_close_matches(name, shape.members, n=1)
            remedy = f"Did you mean: {near[0]}?" if near else f"Allowed: {_names(shape)}."
            yield f"Value at '{_below(path, _shown(name))}' is no member of the request. {remedy}"
        elif part is not None:
            yield from _any(shape.members[name], part, _below(path, name))


def _list(shape: Any, value: list[Any], path: str) -> Iterator[str]:
    yield from _size(shape, len(value), path, "length")
    for number, part in enumerate(value, 1):
        yield from _any(shape.member, part, f"{path}.{number}.member")


def _map(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    yield from _size(shape, len(value), path, "length")
    for key, part in value.items():
        yield from _any(shape.key, key, f"{path}.{_shown(key)}.key")
        yield from _any(shape.value, part, f"{path}.{_shown(key)}.value")


def _string(shape: Any, value: str, path: str) -> Iterator[str]:
    yield from _size(shape, len(value), path, "length", shape, value)
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        wanted = f"Member must satisfy enum value set: [{', '.join(allowed)}]"
        yield f"Value {_quoted(shape, value)}at '{path}' failed to satisfy constraint: {wanted}"
    pattern = shape.metadata.get("pattern")
    longest = shape.metadata.get("max")
    too_long = longest is not None and len(value) > longest
    is_file = shape.name in LOCATIONS and value.startswith("file:///")
    wider = WIDER.get(shape.name)
    is_good = is_file or (wider is not None and matches(wider, value))
    if pattern and not too_long and not is_good and not matches(pattern, value):
        wanted = f"Member must satisfy regular expression pattern: {pattern}"
        yield f"Value {_quoted(shape, value)}at '{path}' failed to satisfy constraint: {wanted}"


def _number(shape: Any, value: float, path: str) -> Iterator[str]:
    yield from _size(shape, value, path, "value", shape, value)


CHECKERS: dict[str, Callable[[Any, Any, str], Iterator[str]]] = {
    "structure": _structure, "list": _list, "map": _map, "string": _string,
    "integer": _number, "long": _number, "float": _number, "double": _number,
}  # fmt: skip


def _size(shape: Any, size: float, path: str, what: str, *quoted: Any) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    shown = f"{_quoted(*quoted)}" if quoted else ""
    if least is not None and size < least:
        bound = f"Member must have {what} greater than or equal to {least}"
        yield f"Value {shown}at '{path}' failed to satisfy constraint: {bound}"
    if most is not None and size > most:
        bound = f"Member must have {what} less than or equal to {most}"
        yield f"Value {shown}at '{path}' failed to satisfy constraint: {bound}"


@cache
def _pattern(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=rf"\A(?:{pattern})\z", strict=True))


def matches(pattern: str, value: str) -> bool:
    """Whether the whole text has the form of a pattern."""
    try:
        _pattern(pattern).validate_python(value)
    except ValidationError:
        return False
    return True


def _quoted(shape: Any, value: Any) -> str:
    """The value in quotes and a space, unless its shape is marked as sensitive."""
    return "" if shape.metadata.get("sensitive") else f"'{_shown(str(value))}' "


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _names(shape: Any) -> str:
    return ", ".join(shape.members)
