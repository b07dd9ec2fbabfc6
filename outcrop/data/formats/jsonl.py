"""JSON lines: one object per line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from outcrop.data.formats.container import Line, Row, lines, opened
from outcrop.data.formats.json_text import parse_object
from outcrop.data.problems import Problems


def rows(path: Path, name: str, problems: Problems) -> Iterator[Row]:
    """The objects of a .jsonl file."""
    for line in texts(path, name, problems):
        if row := parse_object(line.content, line.origin, problems):
            yield row


def texts(path: Path, name: str, problems: Problems) -> Iterator[Line]:
    """The lines of a .jsonl file, blank ones reported, each to be parsed by `parse_object`."""
    with opened(path, name, problems) as stream:
        for line in lines(stream, name, problems):
            if line.content.strip():
                yield line
            else:
                problems.add("blank-line", line.origin, "nothing on this line")
