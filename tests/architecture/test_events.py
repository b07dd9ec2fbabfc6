"""Every event that the package sends is listed in core/events.py with its fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from outcrop.core import events
from tests.architecture.package import FILES, module_name, parse

LISTED = {
    kind: set(re.findall(r"\w+", fields))
    for kind, fields in re.findall(r"^    (\w+) {2,}(\S.*?)(?: {2,}.*)?$", events.__doc__ or "", re.MULTILINE)
}


class Sent(NamedTuple):
    """A place where an event is made."""

    line: int
    kind: str
    fields: set[str]


def _sent(path: Path) -> Iterator[Sent]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Dict):
            keys = {key.value: value for key, value in zip(node.keys, node.values, strict=True) if _is_text(key)}
            if _is_text(kind := keys.pop("event", None)):
                yield Sent(node.lineno, kind.value, set(keys))
        elif isinstance(node, ast.Call) and re.fullmatch(r"(self\.)?journal\.(write|tell)", ast.unparse(node.func)):
            yield Sent(node.lineno, node.args[0].value, {keyword.arg for keyword in node.keywords})


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_sent_events_are_listed(path: Path) -> None:
    faults = [
        f"{path.name}:{line}: {kind}: {', '.join(sorted(fields - LISTED.get(kind, set()))) or 'the kind'}"
        for line, kind, fields in _sent(path)
        if kind not in LISTED or fields - LISTED[kind]
    ]
    assert not faults, "not listed in core/events.py:\n" + "\n".join(faults)


def test_listed_events_are_sent() -> None:
    sent = {kind for path in FILES for _, kind, _ in _sent(path)}
    assert sent, "no event found: this test looks in the wrong place"
    assert sent >= set(LISTED)
