"""Requests into Python values and answers into bytes, by the shapes of an operation (rest-json)."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from dateutil.parser import isoparse

from outcrop.service.bedrock import constraints
from outcrop.service.bedrock.errors import invalid
from outcrop.service.bedrock.model import Operation

DEEPEST = 64
"""Nesting of a request's JSON."""
MANY_QUERY_FIELDS = 100


class Unparsable(Exception):
    """A value of the wrong kind; the text says which is wanted."""


def parse(
    operation: Operation, path: Mapping[str, str], query: str, headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    """The members of a request whose body is JSON, checked against every constraint; times are seconds since 1970.

    path: the labels of the URI, decoded. Raises ValidationException with all that is wrong.
    """
    if operation.input is None:
        return {}
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for name, part, value, convert in _given(operation.input, path, query, headers, body):
        try:
            values[name] = value if part is None or value is None else convert(part, value, name)
        except Unparsable as error:
            wrong.append(f"Value at {error}")
    wrong = wrong or list(constraints.problems(operation.input, values))
    if wrong:
        raise constraints.as_error(wrong)
    return {name: value for name, value in values.items() if value is not None}


def answer(operation: Operation, values: Mapping[str, Any]) -> bytes:
    """The body of a success: JSON without what is None. An undefined member is our own bug."""
    return json.dumps(_to_json(operation.output, values) if operation.output else {}, ensure_ascii=False).encode()


Given = tuple[str, Any, Any, Callable[[Any, Any, str], Any]]


def _given(
    shape: Any, path: Mapping[str, str], query: str, headers: Mapping[str, str], body: bytes
) -> Iterator[Given]:
    """Every member that the request holds: its name, shape, value, and what turns the value into ours."""
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=MANY_QUERY_FIELDS, errors="strict")
    except ValueError:
        raise invalid(f"The query string cannot be read, or has more than {MANY_QUERY_FIELDS} fields.") from None
    places = {"uri": path, "querystring": dict(fields), "header": headers}
    in_body: dict[str, str] = {}
    for name, part in shape.members.items():
        place, called = part.serialization.get("location"), part.serialization.get("name", name)
        if place is None:
            in_body[called] = name
        elif place in places and places[place].get(called) is not None:
            yield name, part, places[place][called], _from_text
    for called, value in _body(body).items():
        name = in_body.get(called, called)
        yield name, shape.members[name] if called in in_body else None, value, _from_json


def _body(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise invalid("The request body is not JSON.") from None
    if not isinstance(value, dict):
        raise invalid("The request body is not a JSON object.")
    if _depth(value) > DEEPEST:
        raise invalid(f"The request body is nested deeper than {DEEPEST} levels.")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _depth(value: Any) -> int:
    """How deep a value is nested, without recursion."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [part for each in level for part in _parts(each)]
    return deepest


def _parts(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _from_text(shape: Any, text: str, name: str) -> Any:
    """A member in the path, the query or a header."""
    kind = shape.type_name
    if kind in ("integer", "long"):
        sign, digits = (text[:1], text[1:]) if text[:1] == "-" else ("", text)
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise Unparsable(f"'{name}' must be a whole number.")
        return int(sign + digits)
    if kind == "boolean":
        if text not in ("true", "false"):
            raise Unparsable(f"'{name}' must be true or false.")
        return text == "true"
    return _seconds(text, name) if kind == "timestamp" else _text(text, name)


def _from_json(shape: Any, value: Any, name: str) -> Any:
    kind = shape.type_name
    if shape.metadata.get("document") or getattr(shape, "is_document_type", False):
        return value
    if kind == "structure":
        return _members(shape, _wanted(value, dict, "an object", name), name)
    if kind == "list":
        items = _wanted(value, list, "a list", name)
        return [_from_json(shape.member, _not_null(part, name), f"{name}.{n}") for n, part in enumerate(items, 1)]
    if kind == "map":
        pairs = _wanted(value, dict, "an object", name)
        return {
            _text(key, name): _from_json(shape.value, _not_null(part, name), f"{name}.{key[:63]}")
            for key, part in pairs.items()
        }
    if kind == "timestamp":
        return _seconds(value, name)
    return _scalar(kind, value, name)


def _members(shape: Any, value: dict[str, Any], name: str) -> dict[str, Any]:
    called = {part.serialization.get("name", member): member for member, part in shape.members.items()}
    return {
        called.get(key, key): _from_json(shape.members[called[key]], part, f"{name}.{key}") if key in called else part
        for key, part in value.items()
        if part is not None
    }


def _scalar(kind: str, value: Any, name: str) -> Any:
    if kind == "boolean":
        return _wanted(value, bool, "true or false", name)
    if kind == "string":
        return _text(_wanted(value, str, "a string", name), name)
    if kind == "blob":
        try:
            return base64.b64decode(_wanted(value, str, "a string in Base64", name), validate=True)
        except (binascii.Error, ValueError):
            raise Unparsable(f"'{name}' must be a string in Base64.") from None
    is_whole = kind in ("integer", "long")
    if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float):
        raise Unparsable(f"'{name}' must be a {'whole ' if is_whole else ''}number.")
    if not -(2**63) <= value < 2**63 or not math.isfinite(value):
        raise Unparsable(f"'{name}' must be a number of 64 bits.")
    return value


def _wanted(value: Any, kind: type, words: str, name: str) -> Any:
    if not isinstance(value, kind):
        raise Unparsable(f"'{name}' must be {words}.")
    return value


def _not_null(value: Any, name: str) -> Any:
    if value is None:
        raise Unparsable(f"'{name}' must not hold null.")
    return value


def _text(value: str, name: str) -> str:
    """Text that can be stored. Neither databases nor UTF-8 take the rest."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise Unparsable(f"'{name}' must not hold NUL or half a surrogate pair.")
    return value


def _seconds(value: Any, name: str) -> float:
    """Seconds since 1970, from ISO 8601 or from such a number."""
    try:
        if isinstance(value, str):
            moment = isoparse(value)
            value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, bool) or not 0 <= value < 253402300800:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise Unparsable(f"'{name}' must be a time such as 2026-01-02T03:04:05Z.") from None
    return float(value)


def _to_json(shape: Any, value: Any) -> Any:
    kind = shape.type_name
    if kind == "structure" and not getattr(shape, "is_document_type", False):
        unknown = set(value) - set(shape.members)
        assert not unknown, f"{shape.name} has no members {unknown}"
        return {
            shape.members[name].serialization.get("name", name): _to_json(shape.members[name], part)
            for name, part in value.items()
            if part is not None
        }
    if kind == "list":
        return [_to_json(shape.member, part) for part in value]
    if kind == "map":
        return {key: _to_json(shape.value, part) for key, part in value.items()}
    return moment(value) if kind == "timestamp" else value


def moment(seconds: float) -> str:
    """ISO 8601 with milliseconds, as Bedrock writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
