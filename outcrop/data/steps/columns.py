"""Columns of many shards as one table: short ones joined in memory, long ones fetched row by row from their shards."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by name. A ragged column `x` is two: `x`, flat, and `x.offsets`, one longer than the shard has rows."""

Loader = Callable[[], Arrays]

CACHED_SHARDS = 24
"""Shards whose arrays are held at once."""


class Columns:
    """The columns of all shards; rows are numbered through. Shards are loaded on demand, and let go."""

    def __init__(self, loaders: Sequence[Loader]) -> None:
        self._loaders = loaders
        self._cache: OrderedDict[tuple[str, int], tuple[NDArray[Any], NDArray[np.int64]]] = OrderedDict()
        self._starts: dict[str, NDArray[np.int64]] = {}

    def shards(self) -> Iterator[Arrays]:
        """The arrays of each shard, in order."""
        for loader in self._loaders:
            yield loader()

    def joined(self, name: str) -> NDArray[Any]:
        """A column with one entry per row, over all shards."""
        whole: NDArray[Any] | None = None
        filled, counts = 0, [len(shard[name]) for shard in self.shards()]
        for shard in self.shards():
            piece = shard[name]
            if whole is None:
                whole = np.empty((sum(counts), *piece.shape[1:]), piece.dtype)
            whole[filled : filled + len(piece)] = piece
            filled += len(piece)
        return np.empty(0) if whole is None else whole

    def starts(self, name: str) -> NDArray[np.int64]:
        """The number of each shard's first row, by the offsets of a ragged column; the last entry is all rows."""
        if name not in self._starts:
            counts = [len(shard[f"{name}.offsets"]) - 1 for shard in self.shards()]
            self._starts[name] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return self._starts[name]

    def entries(self, name: str, row: int) -> NDArray[Any]:
        """The entries of one row in a ragged column."""
        starts = self.starts(name)
        shard = int(np.searchsorted(starts, row, side="right")) - 1
        flat, offsets = self._load(name, shard)
        place = row - int(starts[shard])
        found: NDArray[Any] = flat[offsets[place] : offsets[place + 1]]
        return found

    def _load(self, name: str, shard: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        key = (name, shard)
        if key not in self._cache:
            if len(self._cache) >= CACHED_SHARDS:
                self._cache.popitem(last=False)
            arrays = self._loaders[shard]()
            self._cache[key] = arrays[name], arrays[f"{name}.offsets"]
        self._cache.move_to_end(key)
        return self._cache[key]
