"""JSON lines: one object per line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from outcrop.data.formats.container import Row, lines, opened
from outcrop.data.formats.json_text import parse_object
from outcrop.data.problems import Problems


def rows(path: Path, name: str, problems: Problems) -> Iterator[Row]:
    """The objects of a .jsonl file."""
    with opened(path, name, problems) as stream:
        for line in lines(stream, name, problems):
            if not line.content.strip():
                problems.add("blank-line", line.origin, "nothing on this line")
            elif row := parse_object(line.content, line.origin, problems):
                yield row
