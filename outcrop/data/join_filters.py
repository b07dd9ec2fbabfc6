"""Two filters of an exact similarity join: entries of which any two sets that are alike enough share one.

Partitions (Arasu, Ganti, Kaushik 2006, PartEnum; Deng et al. 2015, PTJ): two sets with Jaccard similarity ≥ t differ
in at most k = (1 − t) / (1 + t) · (|A| + |B|) elements, so of k + 1 + r ranges of hashes r + 1 hold the same elements
in both. An entry stands for all elements of a range: few sets share it by chance. Who looks for partners may leave out
any r of them, best those that most sets share: ranges that are empty, or hold a frequent element alone.

Prefixes (Chaudhuri, Ganti, Kaushik 2006; Xiao et al. 2008, PPJoin): put all elements in one order, rarest first; the
two share one among the first |A| − ⌈t·|A|⌉ + 1 of each. Better where many sets have most of their elements in common.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from outcrop.data.words import mixed

ROW_BITS, FREQUENCY_BITS, HASH_BITS = 16, 16, 32
SLOTS = 1 << 22
"""Entries of the table in which elements are counted; a collision changes the order, which stays one for all."""

ROUNDING = 1e-9

NEEDED_PER_SPARE = 4
"""One range may be left out for so many that are needed."""

Rows = NDArray[np.int64]
Chosen = NDArray[np.bool_]
Halves = NDArray[np.uint32]
"""Upper halves of hashes, sorted, each once in a set; two that are equal by chance can only add a pair."""


class Sets(NamedTuple):
    """Sets of some rows, at most 2^16: that of row i is hashes[offsets[i]:offsets[i + 1]]."""

    hashes: Halves
    offsets: Rows


class Entries(NamedTuple):
    """What rows of a piece may share: values, and the group of each; a row has the groups 2·row and 2·row + 1.

    spare: for each group how many of its entries may be left out.
    """

    value: NDArray[np.uint64]
    group: Rows
    spare: Rows

    @property
    def row(self) -> Rows:
        """The row of each value, numbered within the piece."""
        return self.group >> 1


class Filter(Protocol):
    """A way to make entries."""

    def count(self, sizes: Rows) -> int:
        """At most so many entries have sets of these sizes."""
        ...

    def entries(self, sets: Sets, chosen: Chosen) -> Entries:
        """The entries of the chosen rows of a piece."""
        ...


class Partitions:
    """Entries by ranges of hashes.

    Classes of sizes grow by 1 / t, so that only sets of one class or of two adjacent ones can be alike. The scheme of
    a class has the ranges that its largest sets need; a set makes entries by that of its class and by the next one.
    """

    def __init__(self, threshold: float, largest: int) -> None:
        first = [1]
        while first[-1] <= largest:
            first.append(int(first[-1] / threshold + ROUNDING) + 1)
        first.append(int(first[-1] / threshold + ROUNDING) + 1)
        self._first = np.array(first, dtype=np.int64)
        differing = (1 - threshold) / (1 + threshold) * 2 * (self._first[1:] - 1)
        needed = np.floor(differing + ROUNDING).astype(np.int64) + 1
        self._spare = needed // NEEDED_PER_SPARE
        self._ranges = needed + self._spare

    def count(self, sizes: Rows) -> int:
        """So many entries have sets of these sizes."""
        number = self._class(sizes)
        return int((self._ranges[number] + self._ranges[number + 1]).sum())

    def entries(self, sets: Sets, chosen: Chosen) -> Entries:
        """The entries of the chosen rows of a piece."""
        sizes = np.diff(sets.offsets)
        hashes = sets.hashes[np.repeat(chosen, sizes)].astype(np.uint64)
        sizes = sizes[chosen]
        terms = mixed(hashes + np.uint64(1))
        number = self._class(sizes)
        both = [self._by_scheme(hashes, terms, sizes, number + shift) for shift in (0, 1)]
        rows = np.flatnonzero(chosen)
        groups = [np.repeat(2 * rows + shift, self._ranges[number + shift]) for shift in (0, 1)]
        spare = np.zeros(2 * len(chosen), dtype=np.int64)
        for shift in (0, 1):
            spare[2 * rows + shift] = self._spare[number + shift]
        return Entries(np.concatenate(both), np.concatenate(groups), spare)

    def _class(self, sizes: Rows) -> Rows:
        found: Rows = np.searchsorted(self._first, sizes, side="right") - 1
        return found

    def _by_scheme(
        self, hashes: NDArray[np.uint64], terms: NDArray[np.uint64], sizes: Rows, scheme: Rows
    ) -> NDArray[np.uint64]:
        """The sum of the elements in each range of each set, told apart by scheme and range."""
        ranges = self._ranges[scheme]
        begin = np.cumsum(ranges) - ranges
        within = np.arange(int(ranges.sum())) - np.repeat(begin, ranges)
        values = mixed(np.repeat(scheme, ranges).astype(np.uint64) << np.uint64(32) | within.astype(np.uint64))
        if not len(hashes):
            return values
        # Hashes of a set are in order, and so the places of its elements are, too.
        place = np.repeat(begin, sizes)
        place += (hashes * np.repeat(ranges, sizes).astype(np.uint64) >> np.uint64(HASH_BITS)).astype(np.int64)
        starts = np.flatnonzero(np.concatenate([[True], place[1:] != place[:-1]]))
        values[place[starts]] += np.add.reduceat(terms, starts)
        return values


class Prefixes:
    """Entries by the rarest elements of each set."""

    def __init__(self, threshold: float, pieces: Iterable[Sets]) -> None:
        self._threshold = threshold
        self._frequency = np.zeros(SLOTS, dtype=np.int64)
        for sets in pieces:
            self._frequency += np.bincount(_slots(sets.hashes), minlength=SLOTS)

    def count(self, sizes: Rows) -> int:
        """So many entries have sets of these sizes."""
        return int(self._length(sizes).sum())

    def entries(self, sets: Sets, chosen: Chosen) -> Entries:
        """The entries of the chosen rows of a piece."""
        sizes = np.diff(sets.offsets)
        kept = np.repeat(chosen, sizes)
        row = np.repeat(np.arange(len(chosen), dtype=np.uint64), sizes)[kept]
        hashes, sizes = sets.hashes[kept], np.where(chosen, sizes, 0)
        frequency = np.minimum(self._frequency[_slots(hashes)], (1 << FREQUENCY_BITS) - 1).astype(np.uint64)
        keys = row << np.uint64(64 - ROW_BITS) | frequency << np.uint64(HASH_BITS) | hashes
        keys.sort()
        begin = np.cumsum(sizes) - sizes
        keys = keys[np.arange(len(keys)) - np.repeat(begin, sizes) < np.repeat(self._length(sizes), sizes)]
        value = keys & np.uint64((1 << (FREQUENCY_BITS + HASH_BITS)) - 1)
        row = (keys >> np.uint64(64 - ROW_BITS)).astype(np.int64)
        return Entries(value, 2 * row, np.zeros(2 * len(chosen), dtype=np.int64))

    def _length(self, sizes: Rows) -> Rows:
        length: Rows = sizes - np.ceil(self._threshold * sizes - ROUNDING).astype(np.int64) + 1
        return length


def _slots(hashes: Halves) -> Rows:
    return (hashes & np.uint32(SLOTS - 1)).astype(np.int64)
