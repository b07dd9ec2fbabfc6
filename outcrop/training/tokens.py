"""Text as one long row of token ids on disk, cut into windows: documents of any number in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from outcrop.core.files import digest
from outcrop.training.batches import Example
from outcrop.training.layout import Segment

TOKENS, ENDS = "tokens.bin", "ends.npy"


class TokenShard:
    """Documents end to end in a memory-mapped file. ids [all tokens] (uint16 or uint32); ends [documents]: one past
    the last token of each."""

    def __init__(self, folder: Path, vocabulary: int) -> None:
        self.folder = folder
        self.ids: NDArray[np.unsignedinteger] = np.memmap(folder / TOKENS, dtype=_dtype(vocabulary), mode="r")
        self.ends: NDArray[np.int64] = np.load(folder / ENDS)

    def digest(self) -> str:
        """Of the token ids."""
        return digest(self.folder / TOKENS)

    @staticmethod
    def write(folder: Path, documents: Iterable[Sequence[int]], vocabulary: int) -> TokenShard:
        """Write documents, given as token ids, as they come."""
        folder.mkdir(parents=True, exist_ok=True)
        ends, total = [], 0
        with (folder / TOKENS).open("wb") as file:
            for ids in documents:
                file.write(np.asarray(ids, dtype=_dtype(vocabulary)).tobytes())
                total += len(ids)
                ends.append(total)
        np.save(folder / ENDS, np.array(ends, np.int64))
        return TokenShard(folder, vocabulary)


class Windows(Sequence[Example]):
    """A shard cut into windows of `length` tokens. Inside a window documents stay apart; the first token of a piece is
    context only. Pieces of one token have nothing to predict and are left out, and so are windows of nothing else."""

    def __init__(self, shard: TokenShard, length: int) -> None:
        self.shard, self.length = shard, length
        self._weights = np.ones(length, np.float32)
        self._weights[0] = 0
        starts = np.arange(0, len(shard.ids), length)
        stops = np.minimum(starts + length, len(shard.ids))
        cuts = np.searchsorted(shard.ends, stops - 1, side="right") - np.searchsorted(shard.ends, starts, side="right")
        self._starts = starts[stops - starts > cuts + 1]  # a piece predicts one token fewer than it has

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start = int(self._starts[index])
        stop = min(start + self.length, len(self.shard.ids))
        first, last = np.searchsorted(self.shard.ends, [start, stop - 1], side="right")
        cuts = [start, *(int(end) for end in self.shard.ends[first:last]), stop]
        return tuple(
            Segment(np.asarray(self.shard.ids[a:b], np.int32), self._weights[: b - a])
            for a, b in pairwise(cuts)
            if b - a > 1
        )


def by_document(documents: Iterable[Sequence[int]], length: int) -> list[Example]:
    """Whole documents, each cut into pieces of at most `length` tokens that overlap by one token, so that every token
    but the first is predicted once."""
    examples = []
    for ids in documents:
        array = np.asarray(ids, np.int32)
        starts = range(0, max(1, len(array) - 1), length - 1)
        pieces = [array[start : start + length] for start in starts]
        examples.append(tuple(Segment(piece, np.ones(len(piece), np.float32)) for piece in pieces if len(piece) > 1))
    return examples


def _dtype(vocabulary: int) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if vocabulary <= 1 << 16 else np.uint32
