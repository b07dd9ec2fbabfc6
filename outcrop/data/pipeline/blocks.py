"""Input files cut into blocks of rows, unparsed where that can be done elsewhere; the files alone decide the cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from outcrop.data.formats.catalog import CONTAINERS, SHAPES, TEXTS
from outcrop.data.formats.container import Line, Row
from outcrop.data.formats.json_text import parse_object
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.reading import SNIFFED_ROWS, Paths, RowParser, container_of, files, parser_of
from outcrop.data.records import Origin, Record

BLOCK_ROWS = 4096
BLOCK_BYTES = 4 << 20
"""A block ends at so many rows, or at the row that reaches so many bytes."""

SCANNED_BYTES = 128 << 20
"""How much of a file is looked through for a first row that can be parsed."""


class Found(NamedTuple):
    """One problem, as it goes from a worker to the account."""

    code: str
    file: str
    line: int
    message: str
    field: str


class Listing(Problems):
    """Every problem in the order in which it was found; what one block holds bounds it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Found] = []

    def add(self, code: str, origin: Origin, message: str, field: str = "") -> None:
        """Record one problem."""
        super().add(code, origin, message, field)
        self.found.append(Found(code, origin.file, origin.line, message, field))

    def take(self) -> list[Found]:
        """What was found since the last call."""
        found, self.found = self.found, []
        return found


@dataclass
class Block:
    """Rows of one file that are worked on together.

    found: problems of what stood between them; size: about their bytes.
    """

    parser: RowParser
    items: list[Line | Row]
    found: list[Found] = field(default_factory=list)
    size: int = 0

    def records(self, problems: Problems) -> Iterator[Record]:
        """The records of the block; what is wrong with the others is reported."""
        for item in self.items:
            row = parse_object(item.content, item.origin, problems) if isinstance(item, Line) else item
            record = self.parser.parse(row, problems) if row else None
            if record is not None:
                yield record


class Inputs(NamedTuple):
    """Which files, and how their rows become records."""

    paths: Paths
    mapping: Mapping | None = None
    format: str | None = None

    def files(self) -> list[tuple[Path, str]]:
        """The files with their names. Raises UsageError for those that do not exist."""
        return files(self.paths)

    def plain_bytes(self) -> int | None:
        """The bytes of all files; None where one is compressed, so that they say nothing of its rows."""
        paths = [path for path, _ in self.files()]
        plain = all(path.suffix.lower() in {f".{kind}" for kind in CONTAINERS if kind != "parquet"} for path in paths)
        return sum(path.stat().st_size for path in paths) if plain else None


def blocks(inputs: Inputs, problems: Listing) -> Iterator[Block]:
    """All files in blocks. What makes a whole file unusable is reported and the file left out."""
    for path, name in inputs.files():
        yield from _file_blocks(path, name, inputs, problems)
        rest = problems.take()
        if rest:
            yield Block(RowParser(None), [], rest)


def _file_blocks(path: Path, name: str, inputs: Inputs, problems: Listing) -> Iterator[Block]:
    errors = problems.errors
    items = _items(path, name, problems)
    taken, head = _head(items)
    if not taken:
        if problems.errors == errors:
            problems.add("empty-file", Origin(name, 0), "no rows")
        return
    shape = SHAPES.load(inputs.format) if inputs.format else None
    # Where no row can be parsed, each is reported for itself and no parser is needed.
    parser = parser_of(head, inputs.mapping, shape, problems) if head else RowParser(None)
    if parser is None:
        return
    block = Block(parser, [])
    for item in chain(taken, items):
        block.items.append(item)
        block.size += len(item.content) if isinstance(item, Line) else _size(item)
        if len(block.items) >= BLOCK_ROWS or block.size >= BLOCK_BYTES:
            block.found = problems.take()
            yield block
            block = Block(parser, [])
    if block.items:
        block.found = problems.take()
        yield block


def _items(path: Path, name: str, problems: Problems) -> Iterator[Line | Row]:
    kind = container_of(path, name)
    if kind in TEXTS:
        return TEXTS.load(kind)(path, name, problems)
    return CONTAINERS.load(kind)(path, name, problems)


def _head(items: Iterator[Line | Row]) -> tuple[Sequence[Line | Row], list[Row]]:
    """The items up to the fiftieth that can be parsed, and these rows."""
    taken: list[Line | Row] = []
    rows: list[Row] = []
    scanned = 0
    aside = Problems()
    while len(rows) < SNIFFED_ROWS and (not taken or scanned < SCANNED_BYTES):
        item = next(items, None)
        if item is None:
            break
        taken.append(item)
        scanned += len(item.content) if isinstance(item, Line) else _size(item)
        row = parse_object(item.content, item.origin, aside) if isinstance(item, Line) else item
        if row:
            rows.append(row)
    return taken, rows


def _size(row: Row) -> int:
    return sum(len(value) if isinstance(value, str) else 16 for value in row.values.values())
