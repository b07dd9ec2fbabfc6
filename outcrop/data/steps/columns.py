"""Columns of many shards as one table: short ones joined in memory, long ones fetched row by row from their shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from outcrop.data.records import Origin, Record

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by name. A ragged column `x` is two: `x`, flat, and `x.offsets`, one longer than the shard has rows."""


Tell = Callable[[str, int, int], None]
"""Hears what a decision does now, how much of it is done, and how much there is."""


class Piece(Protocol):
    """The arrays of one shard, in memory or on disk."""

    def __getitem__(self, name: str, /) -> NDArray[Any]:
        """A whole array."""
        ...

    def __iter__(self) -> Iterator[str]:
        """The names of the arrays."""
        ...

    def part(self, name: str, start: int, end: int) -> NDArray[Any]:
        """The entries from start to end of a flat array."""
        ...


class Held(dict[str, NDArray[Any]]):
    """The arrays of one shard in memory."""

    def part(self, name: str, start: int, end: int) -> NDArray[Any]:
        """The entries from start to end of a flat array."""
        entries: NDArray[Any] = self[name][start:end]
        return entries


def places(records: Sequence[Record], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The columns of where records stand; names: all files."""
    number = {name: index for index, name in enumerate(names)}
    return {
        "place.file": np.array([number[record.origin.file] for record in records], dtype=np.int32),
        "place.line": np.array([record.origin.line for record in records], dtype=np.int64),
    }


class Columns:
    """The columns of all shards; rows are numbered through. What is long stays where it is.

    names: of all files; parts: the part of each row, where a step before shared them out; tell: hears of the decision
    that is taken on them.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        names: Sequence[str] = (),
        parts: NDArray[np.int8] | None = None,
        tell: Tell = lambda title, done, total: None,
    ) -> None:
        self.parts = parts
        self.tell = tell
        self._pieces = pieces
        self._file_names = names
        self._offsets: dict[str, tuple[NDArray[np.int64], list[NDArray[np.int64]]]] = {}
        self._places: tuple[NDArray[Any], NDArray[Any]] | None = None

    def names(self) -> list[str]:
        """The names of the arrays."""
        return list(self._pieces[0])

    def joined(self, name: str) -> NDArray[Any]:
        """A column with one entry per row, over all shards."""
        whole: NDArray[Any] | None = None
        filled, count = 0, sum(len(piece[name]) for piece in self._pieces)
        for piece in self._pieces:
            entries = piece[name]
            if whole is None:
                whole = np.empty((count, *entries.shape[1:]), entries.dtype)
            whole[filled : filled + len(entries)] = entries
            filled += len(entries)
        return np.empty(0) if whole is None else whole

    def each(self, name: str) -> Iterator[NDArray[Any]]:
        """A column shard by shard."""
        return (piece[name] for piece in self._pieces)

    def origin(self, row: int) -> Origin:
        """Where a row stands, from the columns `place.file`, a number in the names, and `place.line`."""
        if self._places is None:
            self._places = self.joined("place.file"), self.joined("place.line")
        files, lines = self._places
        return Origin(self._file_names[files[row]], int(lines[row]))

    def entries(self, name: str, row: int) -> NDArray[Any]:
        """The entries of one row in a ragged column."""
        if name not in self._offsets:
            offsets = [piece[f"{name}.offsets"] for piece in self._pieces]
            starts = np.concatenate([[0], np.cumsum([len(each) - 1 for each in offsets])]).astype(np.int64)
            self._offsets[name] = starts, offsets
        starts, offsets = self._offsets[name]
        number = int(starts.searchsorted(row, side="right")) - 1
        place = row - int(starts[number])
        return self._pieces[number].part(name, int(offsets[number][place]), int(offsets[number][place + 1]))
