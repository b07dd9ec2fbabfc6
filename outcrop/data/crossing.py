"""The proof of a split: every pair of almost equal texts in different parts, found exactly, without MinHash.

Sets that are alike enough share an entry of each filter in `join_filters`. Rows of all parts but the largest are
indexed, the rows of all parts go past them. Candidates must then have sizes and a symmetric difference that allow the
threshold, and last their true similarity decides.

Sets come piece by piece and may lie on disk. In memory are at most INDEX_ENTRIES entries at a time; where there are
more, the pieces go past several times.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from outcrop.data.join_filters import (
    HASH_BITS,
    ROUNDING,
    Chosen,
    Entries,
    Filter,
    Halves,
    Partitions,
    Prefixes,
    Rows,
    Sets,
)
from outcrop.data.neighbours import THRESHOLD
from outcrop.data.shingles import FlatShingles, Shingler, distinct, jaccard, normalise
from outcrop.data.words import mixed

PIECE_ROWS = 1 << 13
INDEX_ENTRIES = 1 << 24
LOOKUP_BITS = 26
MOST_CANDIDATES = 4096
"""A row that has more by partitions is left to prefixes: most of its ranges are those of many rows."""

SKETCH_BITS = 2048
CHUNK_PAIRS = 1 << 20
NOT_COMPARED = -1

Tell = Callable[[int, int], None]
"""Hears how much of the work is done, and how much there is."""


class Source(Protocol):
    """The sets of all rows, numbered through."""

    def pieces(self) -> Iterator[Sets]:
        """All of them, in order; asked for several times."""
        ...

    def sizes(self) -> Rows:
        """The size of each."""
        ...

    def of(self, row: int) -> Halves:
        """The set of one row."""
        ...


class InMemory:
    """The sets of texts that are held."""

    def __init__(self, shingler: Shingler, normalised: Sequence[str]) -> None:
        starts = range(0, len(normalised), PIECE_ROWS)
        self._pieces = [sets_of(shingler.flat(normalised[start : start + PIECE_ROWS])) for start in starts]

    def pieces(self) -> Iterator[Sets]:
        """All of them, in order."""
        return iter(self._pieces)

    def sizes(self) -> Rows:
        """The size of each."""
        return np.concatenate([np.diff(sets.offsets) for sets in self._pieces])

    def of(self, row: int) -> Halves:
        """The set of one row."""
        piece, place = self._pieces[row // PIECE_ROWS], row % PIECE_ROWS
        return piece.hashes[piece.offsets[place] : piece.offsets[place + 1]]


def sets_of(flat: FlatShingles) -> Sets:
    """The sets of texts."""
    row = np.repeat(np.arange(len(flat.offsets) - 1, dtype=np.uint64), np.diff(flat.offsets))
    keys = distinct(row << np.uint64(HASH_BITS) | flat.hashes >> np.uint64(HASH_BITS))
    counts = np.bincount((keys >> np.uint64(HASH_BITS)).astype(np.int64), minlength=len(flat.offsets) - 1)
    return Sets(keys.astype(np.uint32), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def crossing_pairs(texts: Sequence[str], parts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """Every pair of rows in different parts that is equal after normalisation, or at least `threshold` alike.

    Of rows that are equal and in the same part only the first is compared.
    """
    first: dict[tuple[str, str], int] = {}
    for row, (text, part) in enumerate(zip(texts, parts, strict=True)):
        first.setdefault((normalise(text), part), row)
    if not first:
        return []
    rows = list(first.values())
    different = [text for text, _ in first]
    number = np.unique([part for _, part in first], return_inverse=True)[1].astype(np.int64)
    found = crossing(InMemory(Shingler.fit(different), different), number, threshold)
    return sorted((min(rows[left], rows[right]), max(rows[left], rows[right])) for left, right in found)


def crossing(
    source: Source, part: Rows, threshold: float = THRESHOLD, tell: Tell = lambda done, total: None
) -> Iterator[tuple[int, int]]:
    """Every pair of rows in different parts that is at least `threshold` alike, once.

    part: the number of each row's part; rows that are NOT_COMPARED are in none. tell: hears of rows that were compared.
    """
    compared = part != NOT_COMPARED
    if not compared.any():
        return
    join = _Join(source, part, threshold, tell)
    partitions = Partitions(threshold, int(source.sizes().max()))
    crowded = yield from join.pairs(partitions, compared, MOST_CANDIDATES)
    if crowded.any():
        yield from join.pairs(Prefixes(threshold, source.pieces()), crowded)


class _Index:
    """Entries of held rows in the order of their values. rows: of the whole, in which each piece begins at a row."""

    def __init__(self, entries: Sequence[tuple[Entries, int]]) -> None:
        value = np.concatenate([each.value for each, _ in entries])
        self._present = np.zeros(1 << LOOKUP_BITS, dtype=bool)
        self._present[_places(value)] = True
        order = np.argsort(value, kind="stable")
        self._value = value[order]
        self.rows = np.concatenate([each.row + start for each, start in entries])[order]

    def find(self, entries: Entries) -> tuple[Rows, Rows, Rows]:
        """Of the entries whose value is here: row, the first place here, and how many follow from there.

        Of each group those of most rows are left out, as many as it may spare.
        """
        known = np.flatnonzero(self._present[_places(entries.value)])
        known = known[np.argsort(entries.value[known])]  # so that searches next to each other end near each other
        value = entries.value[known]
        low = np.searchsorted(self._value, value, side="left")
        count = np.searchsorted(self._value, value, side="right") - low
        group = entries.group[known]
        order = np.lexsort((-count, group))
        first = np.searchsorted(group[order], group[order], side="left")
        kept = order[np.arange(len(order)) - first >= entries.spare[group[order]]]
        kept = kept[count[kept] > 0]
        return group[kept] >> 1, low[kept], count[kept]


class _Join:
    """Finds the partners of rows among those of all parts but the largest, which are held."""

    def __init__(self, source: Source, part: Rows, threshold: float, tell: Tell) -> None:
        self._source, self._part, self._threshold, self._tell = source, part, threshold, tell
        home = np.bincount(part[part != NOT_COMPARED]).argmax()
        self._held = (part != home) & (part != NOT_COMPARED)
        self._number = np.cumsum(self._held) - 1
        self._sizes = source.sizes()
        made = [_sketches(sets, np.flatnonzero(self._held[rows])) for rows, sets in self._pieces()]
        self._sketches = np.concatenate(made)
        self._found: set[tuple[int, int]] = set()

    def pairs(self, join: Filter, chosen: Chosen, most: int | None = None) -> Generator[tuple[int, int], None, Chosen]:
        """The pairs of the chosen rows. Returns those that had more than `most` candidates and are not finished."""
        passes = -(-join.count(self._sizes[self._held]) // INDEX_ENTRIES)
        crowded = np.zeros(len(chosen), dtype=bool)
        for number in range(passes):
            index = _Index([
                (_share(join.entries(sets, self._held[rows]), number, passes), rows.start)
                for rows, sets in self._pieces()
            ])  # fmt: skip
            for rows, sets in self._pieces():
                mine = _share(join.entries(sets, (chosen & ~crowded)[rows]), number, passes)
                near, low, count = index.find(mine)
                candidates = np.bincount(near, weights=count, minlength=len(sets.offsets) - 1)
                if most is not None:
                    crowded[rows] |= candidates > most
                    few = candidates[near] <= most
                    near, low, count = near[few], low[few], count[few]
                yield from self._alike(sets, rows.start, _spread(near, low, count, index.rows))
                self._tell(number * len(chosen) + rows.stop, passes * len(chosen))
        return crowded

    def _pieces(self) -> Iterator[tuple[slice, Sets]]:
        """The pieces, with the rows of the whole that they hold."""
        start = 0
        for sets in self._source.pieces():
            end = start + len(sets.offsets) - 1
            yield slice(start, end), sets
            start = end

    def _alike(self, sets: Sets, start: int, candidates: Iterator[tuple[Rows, Rows]]) -> Iterator[tuple[int, int]]:
        """The pairs of a piece's rows, of which the first has number `start`, that are alike and were not found yet."""
        seen = np.empty(0, dtype=np.int64)
        for near, far in candidates:
            keys = distinct((near * len(self._part) + far)[self._possible(near + start, far)])
            keys = keys[~_contains(seen, keys)]
            seen = np.sort(np.concatenate([seen, keys]))
            near, far = np.divmod(keys, len(self._part))
            alike = self._near_by_sketch(sets, start, near, far)
            for left, right in zip(near[alike].tolist(), far[alike].tolist(), strict=True):
                pair = left + start, right
                if pair not in self._found and self._similarity(sets, left, right) >= self._threshold:
                    self._found.add(pair)
                    yield pair

    def _similarity(self, sets: Sets, left: int, right: int) -> float:
        return jaccard(sets.hashes[sets.offsets[left] : sets.offsets[left + 1]], self._source.of(right))

    def _near_by_sketch(self, sets: Sets, start: int, near: Rows, far: Rows) -> Chosen:
        """Whether bits that differ allow a pair: they are at most |A Δ B| ≤ (1 − t) / (1 + t) · (|A| + |B|)."""
        rows = distinct(near)
        sketches = _sketches(sets, rows)[np.searchsorted(rows, near)]
        differing = np.bitwise_count(sketches ^ self._sketches[self._number[far]]).sum(axis=1)
        allowed = (self._sizes[near + start] + self._sizes[far]) * (1 - self._threshold) / (1 + self._threshold)
        possible: Chosen = differing <= allowed + ROUNDING
        return possible

    def _possible(self, left: Rows, right: Rows) -> Chosen:
        """Whether parts and sizes allow a pair. Two held rows meet twice and count once."""
        small = np.minimum(self._sizes[left], self._sizes[right])
        large = np.maximum(self._sizes[left], self._sizes[right])
        once = (left < right) | ~self._held[left]
        possible: Chosen = (self._part[left] != self._part[right]) & (small >= self._threshold * large) & once
        return possible


def _share(entries: Entries, number: int, passes: int) -> Entries:
    """The entries of one of several passes."""
    if passes == 1:
        return entries
    kept = entries.value % np.uint64(passes) == np.uint64(number)
    return Entries(entries.value[kept], entries.group[kept], entries.spare // passes)


def _spread(near: Rows, low: Rows, count: Rows, rows: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Chunks of pairs of a piece's row and a held row that share an entry."""
    total = np.cumsum(count)
    begin = 0
    while begin < len(count):
        done = int(total[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(total, done + CHUNK_PAIRS, side="right")))
        counts = count[begin:end]
        ramp = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield np.repeat(near[begin:end], counts), rows[np.repeat(low[begin:end], counts) + ramp]
        begin = end


def _places(values: NDArray[np.uint64]) -> Rows:
    return (mixed(values) >> np.uint64(64 - LOOKUP_BITS)).astype(np.int64)


def _contains(ordered: Rows, keys: Rows) -> Chosen:
    if not len(ordered):
        return np.zeros(len(keys), dtype=bool)
    places = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    found: Chosen = ordered[places] == keys
    return found


def _sketches(sets: Sets, rows: Rows) -> NDArray[np.uint64]:
    """A bitmap of the hashes of some rows."""
    sizes = np.diff(sets.offsets)
    kept = np.zeros(len(sizes), dtype=bool)
    kept[rows] = True
    bits = np.zeros((len(rows), SKETCH_BITS), dtype=bool)
    row = np.repeat(np.arange(len(rows)), sizes[rows])
    bits[row, (sets.hashes[np.repeat(kept, sizes)] % np.uint32(SKETCH_BITS)).astype(np.int64)] = True
    return np.packbits(bits, axis=1).view(np.uint64)
