"""Shards on disk: records as JSON lines with their origin, columns as arrays; a digest proves that one is whole."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outcrop.core.files import digest
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text
from outcrop.data.steps.columns import Arrays

Mask = NDArray[np.bool_]
Index = dict[str, tuple[str, list[int], int]]
"""Of each array its type, its shape and its place in the file."""

# Made once: json.dumps and json.loads make these, or look at more, for every row.
_dumps = json.JSONEncoder(default=str).encode
_loads = json.JSONDecoder().raw_decode

COLUMNS = "columns"
MARK = "json"
"""The suffix of the file that is written last; its digests say that the shard is whole."""


def encode(record: Record) -> str:
    """A record as one line: kind, file, line, texts, fields. Values that JSON lacks become text."""
    place = (record.origin.file, record.origin.line)
    fields = dict(record.fields)
    if isinstance(record, Pair):
        return _dumps(("p", *place, record.prompt, record.completion, fields))
    if isinstance(record, Text):
        return _dumps(("t", *place, record.text, fields))
    turns = [[turn.role, turn.content, turn.weight] for turn in record.messages]
    return _dumps(("c", *place, turns, fields))


def decode(line: bytes) -> Record:
    """The record in a line of `encode`."""
    kind, file, number, *content = _loads(line.decode())[0]
    origin = Origin(file, number)
    if kind == "p":
        return Pair(content[0], content[1], origin, content[2])
    if kind == "t":
        return Text(content[0], origin, content[1])
    return Conversation(tuple(Message(*turn) for turn in content[0]), origin, content[1])


class Shard:
    """One shard of a stage, by number: its files are FOLDER/NNNNNN.NAME."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number

    def path(self, name: str) -> Path:
        """The file of a name."""
        return self.folder / f"{self.number:06}.{name}"

    def finish(self, account: Mapping[str, Any], names: Sequence[str]) -> None:
        """Say that the shard is whole: the account of the work, and the digests of its files."""
        digests = {name: digest(self.path(name)) for name in names}
        scratch = self.path(f"{MARK}.new")
        scratch.write_text(json.dumps({"digests": digests, "account": account}), encoding="utf-8")
        scratch.replace(self.path(MARK))

    def account(self) -> dict[str, Any] | None:
        """The account of a whole shard; None where it is absent, unfinished or damaged."""
        try:
            mark = json.loads(self.path(MARK).read_bytes())
            if all(digest(self.path(name)) == found for name, found in mark["digests"].items()):
                return dict(mark["account"])
        except (OSError, ValueError, KeyError):
            return None
        return None

    def write_lines(self, name: str, lines: Iterable[str]) -> None:
        """Write lines of text. Nothing is forced to the disk: the digest shows what a power cut has torn."""
        self.path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of one file."""
        with self.path(name).open("rb") as file:
            yield from file

    def records(self, mask: Mask | None = None) -> Iterator[Record]:
        """The records, or those that the mask keeps."""
        for index, line in enumerate(self.lines("rows")):
            if mask is None or mask[index]:
                yield decode(line)

    def write_columns(self, arrays: Arrays) -> Index:
        """Write arrays one after the other; returns where each of them is."""
        index: Index = {}
        with self.path(COLUMNS).open("wb") as file:
            for name, values in arrays.items():
                index[name] = values.dtype.str, list(values.shape), file.tell()
                values.tofile(file)
        return index


class Stored:
    """Arrays in the file of a shard, read when they are asked for."""

    def __init__(self, path: Path, index: Index) -> None:
        self._path, self._index = path, index

    def __getitem__(self, name: str) -> NDArray[Any]:
        kind, shape, place = self._index[name]
        values: NDArray[Any] = np.fromfile(self._path, kind, math.prod(shape), offset=place).reshape(shape)
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def part(self, name: str, start: int, end: int) -> NDArray[Any]:
        """The entries from start to end of a flat array."""
        kind, _, place = self._index[name]
        width = np.dtype(kind).itemsize
        file = os.open(self._path, os.O_RDONLY)
        try:
            return np.frombuffer(os.pread(file, (end - start) * width, place + start * width), kind)
        finally:
            os.close(file)
