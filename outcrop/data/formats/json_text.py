"""Strict parsing of one JSON object: what the standard parser lets pass is reported instead."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from outcrop.data.formats.container import Row, decode
from outcrop.data.problems import Problems
from outcrop.data.records import Origin

MAX_DEPTH = 100
"""Deepest nesting that is read; Python's own limit depends on the stack."""
MAX_KEYS = 10_000
"""Most keys of a row."""

SHOWN_KEYS, SHOWN_CHARACTERS = 20, 80
"""How many keys of a row, and how much of each, messages name."""

STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)


class _Unusual(ValueError):
    """A key that occurs twice, or a constant that JSON has not."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Unusual
    return found


def _refused(constant: str) -> Any:
    raise _Unusual(constant)


_plain = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refused).decode
"""Parses what nothing is wrong with; made once, as that takes a third of the time of a row."""


def parse_object(content: bytes, origin: Origin, problems: Problems) -> Row | None:
    """The object in `content`, or None after reporting why it cannot be used."""
    text = decode(content, origin, problems)
    if text is None:
        return None
    if "\x00" in text:
        problems.add("nul-character", origin, f"NUL at position {text.index(chr(0)) + 1} of the line")
        return None
    if text.count("[") + text.count("{") > MAX_DEPTH and _nested_deeper(text, MAX_DEPTH):
        problems.add("too-deep", origin, f"nested deeper than {MAX_DEPTH} levels")
        return None
    try:
        value = _plain(text)
    except ValueError:
        _explain(text, origin, problems)
        return None
    if not isinstance(value, dict):
        problems.add("wrong-type", origin, f"expected a JSON object, got {type_name(value)}")
        return None
    if len(value) > MAX_KEYS:
        problems.add("too-many-keys", origin, f"{len(value):,} keys in one row, limit {MAX_KEYS:,}")
        return None
    return Row(value, origin)


def shortened(key: object) -> str:
    """A key as a message names it."""
    text = str(key)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def type_name(value: Any) -> str:
    """The JSON word for a value's type."""
    if isinstance(value, bool):
        return "true or false"
    names = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), f"a {type(value).__name__}")


def _explain(text: str, origin: Origin, problems: Problems) -> None:
    """Report everything for which a text cannot be used."""
    constants: list[str] = []
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            repeated.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return found

    try:
        json.loads(text, object_pairs_hook=unique, parse_constant=constants.append)
    except json.JSONDecodeError as error:
        problems.add("bad-json", origin, f"{error.msg} at position {error.pos + 1} of the row")
    except ValueError as error:  # an integer with more digits than Python converts
        problems.add("bad-json", origin, str(error))
    for key in repeated[:SHOWN_KEYS]:
        problems.add("duplicate-key", origin, f"the key {shortened(key)!r} occurs more than once", field=shortened(key))
    if constants:
        problems.add("not-a-number", origin, f"the value {constants[0]}")


def _nested_deeper(text: str, limit: int) -> bool:
    """Whether brackets outside strings nest deeper than `limit`."""
    depth = 0
    for match in STRUCTURE.finditer(text):
        token = match.group()
        if token in "[{":
            depth += 1
            if depth > limit:
                return True
        elif token in "]}":
            depth -= 1
    return False
