"""The proof of a split: every pair of almost equal texts in different parts, found exactly, without MinHash.

Prefix filter (Chaudhuri, Ganti, Kaushik 2006; Xiao et al. 2008, PPJoin): put all shingles in one order, rarest first.
Two sets with Jaccard similarity ≥ t share one among the first |A| − ⌈t·|A|⌉ + 1 of each. Candidates must then have
sizes and a symmetric difference that allow t, and last their true similarity decides.

Sets come piece by piece and may lie on disk. In memory are the prefixes of all parts but the largest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from outcrop.data.neighbours import THRESHOLD
from outcrop.data.shingles import FlatShingles, Shingler, distinct, jaccard, normalise

PIECE_ROWS = 1 << 13
ROW_BITS, FREQUENCY_BITS, HASH_BITS = 16, 16, 32
SLOTS = 1 << 22
"""Entries of the table in which shingles are counted; a collision changes the order, which stays one for all."""

SKETCH_BITS = 2048
CHUNK_PAIRS = 1 << 20
NOT_COMPARED = -1

Rows = NDArray[np.int64]
Halves = NDArray[np.uint32]
"""Upper halves of shingle hashes, sorted, each once in a set; two that are equal by chance can only add a pair."""


class Sets(NamedTuple):
    """Sets of some rows, at most 2^16: that of row i is hashes[offsets[i]:offsets[i + 1]]."""

    hashes: Halves
    offsets: Rows


class Source(Protocol):
    """The sets of all rows, numbered through."""

    def pieces(self) -> Iterator[Sets]:
        """All of them, in order; asked for several times."""
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

    def of(self, row: int) -> Halves:
        """The set of one row."""
        piece, place = self._pieces[row // PIECE_ROWS], row % PIECE_ROWS
        return piece.hashes[piece.offsets[place] : piece.offsets[place + 1]]


def sets_of(flat: FlatShingles) -> Sets:
    """The sets of texts."""
    halves = (flat.hashes >> np.uint64(HASH_BITS)).astype(np.uint32)
    unique = [distinct(halves[start:end]) for start, end in zip(flat.offsets[:-1], flat.offsets[1:], strict=True)]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in unique])]).astype(np.int64)
    return Sets(np.concatenate(unique) if unique else np.empty(0, np.uint32), offsets)


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


def crossing(source: Source, part: Rows, threshold: float = THRESHOLD) -> Iterator[tuple[int, int]]:
    """Every pair of rows in different parts that is at least `threshold` alike, once.

    part: the number of each row's part; rows that are NOT_COMPARED are in none.
    """
    join = _Join(source, part, threshold)
    start = 0
    for sets in source.pieces():
        yield from join.pairs(sets, start)
        start += len(sets.offsets) - 1


class _Entries(NamedTuple):
    """Prefixes of sets: for each entry its place in the order of all shingles, and the row it is of."""

    identity: NDArray[np.uint64]
    row: Rows


class _Join:
    """Finds the partners of each piece's rows among the rows of all parts but the largest, which are indexed."""

    def __init__(self, source: Source, part: Rows, threshold: float) -> None:
        self._source, self._part, self._threshold = source, part, threshold
        compared = part[part != NOT_COMPARED]
        home = np.bincount(compared).argmax() if len(compared) else 0
        self._held = (part != home) & (part != NOT_COMPARED)
        self._number = np.cumsum(self._held) - 1
        self._frequency, self._sizes = self._counted()
        self._index, self._sketches = self._indexed()

    def pairs(self, sets: Sets, start: int) -> Iterator[tuple[int, int]]:
        """The pairs of a piece's rows, of which the first has number `start`, with rows of the index."""
        compared = self._part[start : start + len(sets.offsets) - 1] != NOT_COMPARED
        mine = self._prefixes(sets, compared)
        sketches = _sketches(sets)
        seen = np.empty(0, dtype=np.int64)
        for near, far in self._sharing(mine):
            keys = distinct((near * len(self._part) + far)[self._possible(near + start, far)])
            keys = keys[~_contains(seen, keys)]
            seen = np.sort(np.concatenate([seen, keys]))
            near, far = np.divmod(keys, len(self._part))
            # Bits that differ are at most the elements that differ, |A Δ B| ≤ (1 − t) / (1 + t) · (|A| + |B|).
            differing = np.bitwise_count(sketches[near] ^ self._sketches[self._number[far]]).sum(axis=1)
            allowed = (self._sizes[near + start] + self._sizes[far]) * (1 - self._threshold) / (1 + self._threshold)
            alike = differing <= allowed + 1e-6
            for left, right in zip((near + start)[alike].tolist(), far[alike].tolist(), strict=True):
                if jaccard(self._source.of(left), self._source.of(right)) >= self._threshold:
                    yield left, right

    def _counted(self) -> tuple[NDArray[np.int64], Rows]:
        """How often shingles occur, by slot, and the size of each set."""
        frequency = np.zeros(SLOTS, dtype=np.int64)
        sizes = [np.empty(0, dtype=np.int64)]
        for sets in self._source.pieces():
            np.add.at(frequency, _slots(sets.hashes), 1)
            sizes.append(np.diff(sets.offsets))
        return frequency, np.concatenate(sizes)

    def _indexed(self) -> tuple[_Entries, NDArray[np.uint64]]:
        """The prefixes of the held rows in the order of their identities, and their sketches."""
        identities, rows, sketches = [], [], []
        start = 0
        for sets in self._source.pieces():
            end = start + len(sets.offsets) - 1
            held = self._held[start:end]
            if held.any():
                found = self._prefixes(sets, held)
                identities.append(found.identity)
                rows.append(found.row + start)
                sketches.append(_sketches(sets)[held])
            start = end
        if not identities:
            return _Entries(np.empty(0, np.uint64), np.empty(0, np.int64)), np.empty((0, SKETCH_BITS // 64), np.uint64)
        identity, row = np.concatenate(identities), np.concatenate(rows)
        order = np.argsort(identity, kind="stable")
        return _Entries(identity[order], row[order]), np.concatenate(sketches)

    def _prefixes(self, sets: Sets, chosen: NDArray[np.bool_]) -> _Entries:
        """The prefixes of the chosen rows of a piece, numbered within it, in the order of identities."""
        sizes = np.where(chosen, np.diff(sets.offsets), 0)
        row = np.repeat(np.arange(len(chosen), dtype=np.uint64), np.diff(sets.offsets))
        kept = chosen[row.astype(np.int64)]
        hashes, row = sets.hashes[kept], row[kept]
        frequency = np.minimum(self._frequency[_slots(hashes)], (1 << FREQUENCY_BITS) - 1).astype(np.uint64)
        keys = row << np.uint64(64 - ROW_BITS) | frequency << np.uint64(HASH_BITS) | hashes
        keys.sort()
        length = sizes - np.ceil(self._threshold * sizes).astype(np.int64) + 1
        begin = np.cumsum(sizes) - sizes
        keys = keys[np.arange(len(keys)) - np.repeat(begin, sizes) < np.repeat(length, sizes)]
        identity = keys & np.uint64((1 << (FREQUENCY_BITS + HASH_BITS)) - 1)
        order = np.argsort(identity, kind="stable")
        return _Entries(identity[order], (keys >> np.uint64(64 - ROW_BITS)).astype(np.int64)[order])

    def _sharing(self, mine: _Entries) -> Iterator[tuple[Rows, Rows]]:
        """Chunks of pairs of a piece's row and an indexed row that share a shingle of their prefixes."""
        low = np.searchsorted(self._index.identity, mine.identity, side="left")
        count = np.searchsorted(self._index.identity, mine.identity, side="right") - low
        total = np.cumsum(count)
        begin = 0
        while begin < len(count):
            done = int(total[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(total, done + CHUNK_PAIRS, side="right")))
            counts = count[begin:end]
            ramp = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            yield np.repeat(mine.row[begin:end], counts), self._index.row[np.repeat(low[begin:end], counts) + ramp]
            begin = end

    def _possible(self, left: Rows, right: Rows) -> NDArray[np.bool_]:
        """Whether parts and sizes allow a pair. Two indexed rows meet twice and count once."""
        small = np.minimum(self._sizes[left], self._sizes[right])
        large = np.maximum(self._sizes[left], self._sizes[right])
        once = (left < right) | ~self._held[left]
        possible: NDArray[np.bool_] = (
            (self._part[left] != self._part[right]) & (small >= self._threshold * large) & once
        )
        return possible


def _slots(hashes: Halves) -> Rows:
    return (hashes & np.uint32(SLOTS - 1)).astype(np.int64)


def _contains(ordered: Rows, keys: Rows) -> NDArray[np.bool_]:
    if not len(ordered):
        return np.zeros(len(keys), dtype=bool)
    places = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[places] == keys
    return found


def _sketches(sets: Sets) -> NDArray[np.uint64]:
    """A bitmap of each set's hashes."""
    bits = np.zeros((len(sets.offsets) - 1, SKETCH_BITS), dtype=bool)
    row = np.repeat(np.arange(len(bits)), np.diff(sets.offsets))
    bits[row, (sets.hashes % np.uint32(SKETCH_BITS)).astype(np.int64)] = True
    return np.packbits(bits, axis=1).view(np.uint64)
