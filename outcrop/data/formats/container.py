"""What every container (JSON lines, tables, documents) gives and obeys: rows with origins, in bounded memory."""

from __future__ import annotations

import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from outcrop.core.files import PACKED, open_binary
from outcrop.data.problems import Problems
from outcrop.data.records import Origin

MAX_BYTES = 64 << 20
"""Longest line or document that is read, in bytes."""

UNPACKED_BYTES = 256 << 20
UNPACKED_RATIO = 500
"""A compressed file that unpacks to more than both, in bytes and in times its size, is an attack or an accident."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Row(NamedTuple):
    """One row as its container holds it, before it has a record format."""

    values: dict[str, Any]
    origin: Origin


class Container(Protocol):
    """A way to hold rows in a file. Damaged rows are reported and left out; the others are yielded in order."""

    def __call__(self, path: Path, name: str, problems: Problems) -> Iterator[Row]:
        """Rows of the file at `path`, which messages call `name`."""
        ...


class Line(NamedTuple):
    """One physical line, without its line end. Lines end at b"\\n" only: texts may contain U+2028."""

    content: bytes
    origin: Origin


class TextSource(Protocol):
    """The unparsed rows of a file: its lines, or the elements of its array."""

    def __call__(self, path: Path, name: str, problems: Problems) -> Iterator[Line]:
        """Rows as bytes with their origins; what is no row is reported."""
        ...


class Bomb(Exception):
    """A compressed file unpacks to far more than its size."""


class Guard(io.RawIOBase):
    """The unpacked bytes of a file, counted. Raises Bomb beyond the limits."""

    def __init__(self, stream: BinaryIO, packed_bytes: int) -> None:
        self._stream = stream
        self._limit = max(UNPACKED_BYTES, UNPACKED_RATIO * packed_bytes)
        self._count = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one read goes; 0 at the end."""
        content = self._stream.read(len(buffer))
        self._count += len(content)
        if self._count > self._limit:
            raise Bomb
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def opened(path: Path, name: str, problems: Problems) -> Iterator[BinaryIO]:
    """The decompressed bytes of a file. Damage in the compression is reported, and reading ends there."""
    try:
        with open_binary(path) as stream:
            packed = path.suffix.lower() in PACKED
            yield cast(BinaryIO, io.BufferedReader(Guard(stream, path.stat().st_size), 1 << 16)) if packed else stream
    except Bomb:
        size = path.stat().st_size
        message = f"{size:,} bytes unpack to more than {max(UNPACKED_BYTES, UNPACKED_RATIO * size):,}"
        problems.add("decompression-bomb", Origin(name, 0), message)
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        _report_damage(error, name, problems)
    except OSError as error:
        # gzip and bz2 raise OSError without an errno for broken content; one with an errno is the disk's.
        if error.errno is not None:
            raise
        _report_damage(error, name, problems)


def _report_damage(error: Exception, name: str, problems: Problems) -> None:
    problems.add("broken-compression", Origin(name, 0), f"decompression failed: {error}")


def lines(stream: BinaryIO, name: str, problems: Problems) -> Iterator[Line]:
    """Split into lines no longer than MAX_BYTES; longer ones and byte order marks are reported."""
    number = 0
    while content := stream.readline(MAX_BYTES + 1):
        number += 1
        origin = Origin(name, number)
        if len(content) > MAX_BYTES and not content.endswith(b"\n"):
            _skip_line(stream)
            problems.add("line-too-long", origin, f"longer than {MAX_BYTES:,} bytes")
            continue
        if number == 1 and content.startswith(UTF16_MARKS):
            problems.add("not-utf8", origin, "the file looks like UTF-16")
            return
        yield Line(without_mark(content, origin, problems).removesuffix(b"\n"), origin)


def without_mark(content: bytes, origin: Origin, problems: Problems) -> bytes:
    """Remove and report a UTF-8 byte order mark."""
    if not content.startswith(BYTE_ORDER_MARK):
        return content
    problems.add("bom", origin, "starts with the bytes EF BB BF")
    return content.removeprefix(BYTE_ORDER_MARK)


def decode(content: bytes, origin: Origin, problems: Problems) -> str | None:
    """Decode UTF-8, or report where it is not."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        problems.add("not-utf8", origin, f"byte {content[error.start]:#04x} at position {error.start + 1} of the line")
        return None


def _skip_line(stream: BinaryIO) -> None:
    while chunk := stream.readline(1 << 16):
        if chunk.endswith(b"\n"):
            return
