"""The proof of a split: every pair of almost equal texts in different parts, found exactly, without MinHash.

Prefix filter (Chaudhuri, Ganti, Kaushik 2006; Xiao et al. 2008, PPJoin): put all shingles in one order, rarest first.
Two sets with Jaccard similarity ≥ t share one among the first |A| − ⌈t·|A|⌉ + 1 of each. Candidates must then have
sizes and a symmetric difference that allow t, and last their true similarity decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError
from outcrop.data.neighbours import THRESHOLD
from outcrop.data.shingles import FlatShingles, Hashes, Shingler, distinct, jaccard, normalise

ROW_BITS = 24
FREQUENCY_BITS = 16
HASH_BITS = 24
SKETCH_BITS = 2048
SKETCH_ROWS = 4096
CHUNK_PAIRS = 1 << 20
Rows = NDArray[np.int64]


class Sets(NamedTuple):
    """Sorted sets of shingles, the set of row i being hashes[offsets[i]:offsets[i + 1]]."""

    hashes: Hashes
    offsets: Rows

    def of(self, row: int) -> Hashes:
        """The set of one row."""
        return self.hashes[self.offsets[row] : self.offsets[row + 1]]


def crossing_pairs(texts: Sequence[str], parts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """Every pair of rows in different parts that is equal after normalisation, or at least `threshold` alike.

    Of rows that are equal and in the same part only the first is compared. Raises DataError from 2^24 rows on.
    """
    first: dict[tuple[str, str], int] = {}
    for row, (text, part) in enumerate(zip(texts, parts, strict=True)):
        first.setdefault((normalise(text), part), row)
    if not first:
        return []
    if len(first) >= 1 << ROW_BITS:
        raise DataError(f"{len(first):,} different rows are too many to prove a split.", "Split the data in two.")
    rows = list(first.values())
    different = [text for text, _ in first]
    number = np.unique([part for _, part in first], return_inverse=True)[1]
    sets = _sets(Shingler.fit(different).flat(different))
    found = []
    for left, right in _candidates(sets, number, threshold):
        if different[left] == different[right] or jaccard(sets.of(left), sets.of(right)) >= threshold:
            found.append((min(rows[left], rows[right]), max(rows[left], rows[right])))
    return sorted(found)


def _sets(flat: FlatShingles) -> Sets:
    """Each row's shingles sorted and without repetition."""
    ranges = zip(flat.offsets[:-1], flat.offsets[1:], strict=True)
    unique = [distinct(flat.hashes[start:end]) for start, end in ranges]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in unique])])
    return Sets(np.concatenate(unique), offsets.astype(np.int64))


def _candidates(sets: Sets, part: Rows, threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs across parts that no bound rules out."""
    sizes = np.diff(sets.offsets)
    sketches = _sketches(sets)
    seen = np.empty(0, dtype=np.int64)
    for left, right in _sharing_pairs(sets, sizes, threshold):
        small, large = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
        possible = (part[left] != part[right]) & (small >= threshold * large)
        keys = distinct(left[possible] * len(part) + right[possible])
        keys = keys[~_contains(seen, keys)]
        seen = np.sort(np.concatenate([seen, keys]))
        left, right = np.divmod(keys, len(part))
        # Bits that differ are at most the elements that differ, |A Δ B| ≤ (1 − t) / (1 + t) · (|A| + |B|).
        differing = np.bitwise_count(sketches[left] ^ sketches[right]).sum(axis=1)
        near = differing <= (1 - threshold) / (1 + threshold) * (sizes[left] + sizes[right]) + 1e-6
        yield from zip(left[near].tolist(), right[near].tolist(), strict=True)


def _contains(ordered: Rows, keys: Rows) -> NDArray[np.bool_]:
    if not len(ordered):
        return np.zeros(len(keys), dtype=bool)
    places = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[places] == keys
    return found


def _sharing_pairs(sets: Sets, sizes: Rows, threshold: float) -> Iterator[tuple[Rows, Rows]]:
    """Chunks of pairs, left < right, that share one of the rarest shingles of both.

    Frequencies are counted in a table indexed by a piece of the hash, and shingles are told apart by frequency and
    another piece: still one order of all, and a collision only adds a candidate.
    """
    row = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    slot = (sets.hashes >> np.uint64(40)).astype(np.int64)  # 24 bits that the piece below does not use
    frequency = np.minimum(np.bincount(slot)[slot], (1 << FREQUENCY_BITS) - 1).astype(np.uint64)
    piece = sets.hashes & np.uint64((1 << HASH_BITS) - 1)
    ordered = np.sort(row << np.uint64(FREQUENCY_BITS + HASH_BITS) | frequency << np.uint64(HASH_BITS) | piece)
    length = sizes - np.ceil(threshold * sizes).astype(np.int64) + 1
    prefix = np.arange(len(ordered)) - np.repeat(sets.offsets[:-1], sizes) < np.repeat(length, sizes)
    identity = ordered[prefix] & np.uint64((1 << (FREQUENCY_BITS + HASH_BITS)) - 1)
    shared = np.sort(identity << np.uint64(ROW_BITS) | row[prefix])
    yield from _pairs_in_groups(
        shared >> np.uint64(ROW_BITS), (shared & np.uint64((1 << ROW_BITS) - 1)).astype(np.int64)
    )


def _pairs_in_groups(group: NDArray[np.uint64], row: Rows) -> Iterator[tuple[Rows, Rows]]:
    """All pairs of rows in the same group, in chunks. Groups are contiguous and their rows ascending."""
    lefts: list[Rows] = []
    rights: list[Rows] = []
    position, distance = np.arange(len(group)), 1
    while True:
        position = position[position < len(group) - distance]
        position = position[group[position] == group[position + distance]]
        lefts.append(row[position])
        rights.append(row[position + distance])
        if not len(position) or sum(map(len, lefts)) >= CHUNK_PAIRS:
            left, right = np.concatenate(lefts), np.concatenate(rights)
            yield left[left != right], right[left != right]
            lefts, rights = [], []
        if not len(position):
            return
        distance += 1


def _sketches(sets: Sets) -> NDArray[np.uint64]:
    """A bitmap of each set's hashes."""
    batches = []
    for start in range(0, len(sets.offsets) - 1, SKETCH_ROWS):
        offsets = sets.offsets[start : start + SKETCH_ROWS + 1]
        bits = np.zeros((len(offsets) - 1, SKETCH_BITS), dtype=bool)
        row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        bits[row, (sets.hashes[offsets[0] : offsets[-1]] % np.uint64(SKETCH_BITS)).astype(np.int64)] = True
        batches.append(np.packbits(bits, axis=1).view(np.uint64))
    return np.concatenate(batches)
