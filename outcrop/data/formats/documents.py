"""Plain text and Markdown: one file is one text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from outcrop.data.formats import container
from outcrop.data.formats.container import UTF16_MARKS, Row, decode, opened, without_mark
from outcrop.data.problems import Problems
from outcrop.data.records import Origin


def rows(path: Path, name: str, problems: Problems) -> Iterator[Row]:
    """The text of the file, as the one row {"text": …}."""
    origin = Origin(name, 1)
    with opened(path, name, problems) as stream:
        content = stream.read(container.MAX_BYTES + 1)
        if len(content) > container.MAX_BYTES:
            problems.add("line-too-long", origin, f"a document longer than {container.MAX_BYTES:,} bytes")
            return
        if content.startswith(UTF16_MARKS):
            problems.add("not-utf8", origin, "the file looks like UTF-16")
            return
        text = decode(without_mark(content, origin, problems), origin, problems)
        if text:
            yield Row({"text": text}, origin)
