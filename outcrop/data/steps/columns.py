"""Columns of many shards as one table: short ones joined in memory, long ones fetched row by row from their shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by name. A ragged column `x` is two: `x`, flat, and `x.offsets`, one longer than the shard has rows."""


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


class Columns:
    """The columns of all shards; rows are numbered through. What is long stays where it is."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._offsets: dict[str, tuple[NDArray[np.int64], list[NDArray[np.int64]]]] = {}

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
