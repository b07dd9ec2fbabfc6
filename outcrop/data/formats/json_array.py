"""A JSON array of objects, read element by element, never as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from outcrop.data.formats import container
from outcrop.data.formats.container import UTF16_MARKS, Line, Row, opened, without_mark
from outcrop.data.formats.json_text import parse_object
from outcrop.data.problems import Problems
from outcrop.data.records import Origin

CHUNK = 1 << 16
STRUCTURE = re.compile(rb'\\.|["\[\]{},\n]', re.DOTALL)


def rows(path: Path, name: str, problems: Problems) -> Iterator[Row]:
    """The objects of a .json file that holds one array; the line is where the object begins."""
    for element in texts(path, name, problems):
        if row := parse_object(element.content, element.origin, problems):
            yield row


def texts(path: Path, name: str, problems: Problems) -> Iterator[Line]:
    """The elements of the array in a .json file, each to be parsed by `parse_object`."""
    with opened(path, name, problems) as stream:
        yield from Elements(stream, name, problems)


class Elements:
    """The elements of the array in `stream`, as text with the line where each begins."""

    def __init__(self, stream: BinaryIO, name: str, problems: Problems) -> None:
        self._stream, self._name, self._problems = stream, name, problems
        self._line = 1
        self._piece = bytearray()
        self._piece_line = 1
        self._dropped = False

    def __iter__(self) -> Iterator[Line]:
        head = self._opening()
        if head is None:
            return
        depth, inside = 1, False
        for chunk in self._chunks(head):
            start = 0
            for match in STRUCTURE.finditer(chunk):
                token = match.group()
                if token == b'"':
                    inside = not inside
                elif token == b"\n":
                    self._line += 1
                elif not inside and token in b"[{":
                    depth += 1
                elif not inside and token in b"]}":
                    depth -= 1
                if depth == 0 or (depth == 1 and token == b"," and not inside):
                    self._keep(chunk[start : match.start()], self._line)
                    yield from self._finished(last=depth == 0)
                    start = match.end()
                elif token == b"\n":
                    self._keep(chunk[start : match.end()], self._line - 1)
                    start = match.end()
                if depth == 0:
                    self._check_end(chunk[start:])
                    return
            self._keep(chunk[start:], self._line)
        self._problems.add("bad-json", Origin(self._name, self._line), "the array does not end")

    def _opening(self) -> bytes | None:
        """What follows the opening bracket in the first chunk, or None after reporting that there is none."""
        origin = Origin(self._name, 1)
        head = self._stream.read(CHUNK)
        if head.startswith(UTF16_MARKS):
            self._problems.add("not-utf8", origin, "the file looks like UTF-16")
            return None
        head = without_mark(head, origin, self._problems)
        body = head.lstrip()
        self._line += head[: len(head) - len(body)].count(b"\n")
        if body.startswith(b"["):
            return body[1:]
        if body:
            self._problems.add(
                "bad-json",
                origin,
                "a .json file must hold one array of objects; for one object per line, name it .jsonl",
            )
        return None

    def _chunks(self, head: bytes) -> Iterator[bytes]:
        chunk = head
        while chunk or (chunk := self._stream.read(CHUNK)):
            # An escape is one token: never cut a chunk between a backslash and what it escapes.
            yield chunk + self._stream.read(1) if chunk.endswith(b"\\") else chunk
            chunk = b""

    def _keep(self, part: bytes, line: int) -> None:
        if not self._piece:
            part = part.lstrip()
            self._piece_line = line
        if len(self._piece) + len(part) > container.MAX_BYTES:
            self._dropped = True
        if not self._dropped:
            self._piece += part

    def _finished(self, last: bool) -> Iterator[Line]:
        origin = Origin(self._name, self._piece_line)
        content, dropped = bytes(self._piece).rstrip(), self._dropped
        self._piece, self._dropped = bytearray(), False
        if dropped:
            self._problems.add("line-too-long", origin, f"an element longer than {container.MAX_BYTES:,} bytes")
        elif content:
            yield Line(content, origin)
        elif not last:
            self._problems.add("bad-json", Origin(self._name, self._line), "nothing between two commas")

    def _check_end(self, rest: bytes) -> None:
        if (rest + self._stream.read(CHUNK)).strip():
            self._problems.add("bad-json", Origin(self._name, self._line), "something follows the end of the array")
