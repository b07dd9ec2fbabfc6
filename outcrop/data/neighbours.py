"""Near-duplicates: MinHash finds candidates, true Jaccard similarity decides, union-find makes clusters.

Broder 1997, "On the resemblance and containment of documents"; banding as in Leskovec, Rajaraman, Ullman, Mining of
Massive Datasets, ch. 3. With 25 bands of 5 values a pair at similarity 0.85 is missed once in two million.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.data.shingles import FlatShingles, Hashes, Shingler, jaccard, normalise

THRESHOLD = 0.85
BANDS, BAND_WIDTH = 25, 5
PERMUTATIONS = BANDS * BAND_WIDTH
SLACK = 0.1
"""How far a signature's estimate may lie below the threshold: three standard errors of 125 permutations at 0.85."""

WINDOW = 64
"""In a bucket of more rows than this, each is compared with so many that follow it in the order of signatures."""

SEED = 7
Rows = NDArray[np.int64]
Signatures = NDArray[np.uint32]


class Pairs(NamedTuple):
    """Pairs of rows, left < right, and the similarity that their signatures estimate."""

    left: Rows
    right: Rows
    estimate: NDArray[np.float64]


def clusters(texts: Sequence[str], threshold: float = THRESHOLD) -> Rows:
    """For each text the number of the first row of its cluster.

    Texts are in one cluster if a chain of pairs with Jaccard similarity ≥ threshold, or equal after normalisation,
    connects them.
    """
    first_row: dict[str, int] = {}
    groups = np.array([first_row.setdefault(normalise(text), row) for row, text in enumerate(texts)], dtype=np.int64)
    distinct, rows = list(first_row), np.array(list(first_row.values()), dtype=np.int64)
    flat = Shingler.fit(distinct).flat(distinct)
    roots = list(range(len(distinct)))
    sets: dict[int, Hashes] = {}
    for pairs in similar_pairs(signatures(flat), threshold - SLACK):
        for left, right in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True):
            a, b = _root(roots, left), _root(roots, right)
            if a != b and jaccard(_set(sets, flat, left), _set(sets, flat, right)) >= threshold:
                roots[max(a, b)] = min(a, b)
    of_distinct = np.array([rows[_root(roots, index)] for index in range(len(distinct))], dtype=np.int64)
    position = {int(row): index for index, row in enumerate(rows)}
    return np.array([of_distinct[position[int(row)]] for row in groups], dtype=np.int64)


def signatures(flat: FlatShingles) -> Signatures:
    """MinHash signatures, one row of PERMUTATIONS values per text."""
    import rensa

    if len(flat.offsets) == 1:
        return np.empty((0, PERMUTATIONS), np.uint32)
    offsets = flat.offsets.astype(np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(flat.hashes, offsets, PERMUTATIONS, SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32)


def similar_pairs(matrix: Signatures, floor: float) -> Iterator[Pairs]:
    """Pairs whose estimated similarity is at least `floor`, band by band; a pair may come several times."""
    keys = np.empty((len(matrix), BANDS), dtype=np.uint64)
    for band in range(BANDS):
        key = np.zeros(len(matrix), dtype=np.uint64)
        for column in range(band * BAND_WIDTH, (band + 1) * BAND_WIDTH):
            key = key * np.uint64(0x100000001B3) + matrix[:, column]
        keys[:, band] = key
    for band in range(BANDS):
        # Rows of a bucket stand side by side, ordered by the next band, so that the most alike are the nearest.
        order = np.lexsort((keys[:, (band + 1) % BANDS], keys[:, band]))
        bucket = keys[order, band]
        for distance in range(1, WINDOW + 1):
            same = np.flatnonzero(bucket[:-distance] == bucket[distance:])
            if not len(same):
                break
            left, right = order[same], order[same + distance]
            estimate = _estimates(matrix, left, right)
            near = estimate >= floor
            yield Pairs(np.minimum(left, right)[near], np.maximum(left, right)[near], estimate[near])


def _estimates(matrix: Signatures, left: Rows, right: Rows) -> NDArray[np.float64]:
    parts = [slice(start, start + 65536) for start in range(0, len(left), 65536)]
    found = [(matrix[left[part]] == matrix[right[part]]).mean(axis=1) for part in parts]
    return np.concatenate(found)


def _root(roots: list[int], index: int) -> int:
    while roots[index] != index:
        roots[index] = roots[roots[index]]
        index = roots[index]
    return index


def _set(sets: dict[int, Hashes], flat: FlatShingles, index: int) -> Hashes:
    if index not in sets:
        sets[index] = np.unique(flat.hashes[flat.offsets[index] : flat.offsets[index + 1]])
    return sets[index]


def crossing_pairs(texts: Sequence[str], parts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """Every pair of rows in different parts that is equal or at least `threshold` alike: exact, without MinHash.

    Two sets with Jaccard similarity ≥ t share an element among the first |A| − ⌈t·|A|⌉ + 1 of each, in any one order
    of all elements (prefix filter: Chaudhuri, Ganti, Kaushik 2006; Xiao et al. 2008, PPJoin). The rarest come first.
    """
    normalised = [normalise(text) for text in texts]
    if not normalised:
        return []
    part = np.unique(np.array(parts), return_inverse=True)[1]
    flat = Shingler.fit(normalised).flat(normalised)
    sets: dict[int, Hashes] = {}
    found = []
    for left, right in _prefix_pairs(flat, part, threshold):
        if normalised[left] == normalised[right] or (
            jaccard(_set(sets, flat, left), _set(sets, flat, right)) >= threshold
        ):
            found.append((left, right))
    return found


def _prefix_pairs(flat: FlatShingles, part: NDArray[np.int64], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs across parts that share one of the rarest elements of both and whose sizes allow the threshold."""
    row = np.repeat(np.arange(len(part)), np.diff(flat.offsets))
    order = np.lexsort((flat.hashes, row))
    row, hashes = row[order], flat.hashes[order]
    once = np.ones(len(row), dtype=bool)
    once[1:] = (row[1:] != row[:-1]) | (hashes[1:] != hashes[:-1])
    row, hashes = row[once], hashes[once]
    _, token, frequency = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.lexsort((token, frequency[token], row))
    row, token = row[order], token[order]
    size = np.bincount(row, minlength=len(part))
    starts = np.concatenate([[0], np.cumsum(size)])[:-1]
    prefix = np.arange(len(row)) - starts[row] < size[row] - np.ceil(threshold * size[row]) + 1
    row, token = row[prefix], token[prefix]
    order = np.lexsort((row, token))
    row, token = row[order], token[order]
    seen: set[tuple[int, int]] = set()
    bounds = np.flatnonzero(np.diff(token, prepend=-1, append=-1))
    for begin, end in pairwise(bounds.tolist()):
        bucket = row[begin:end]
        if len(bucket) < 2 or (part[bucket] == part[bucket[0]]).all():
            continue
        for index, left in enumerate(bucket.tolist()):
            later = bucket[index + 1 :]
            small, large = np.minimum(size[left], size[later]), np.maximum(size[left], size[later])
            for right in later[(part[later] != part[left]) & (small >= threshold * large)].tolist():
                if (left, right) not in seen:
                    seen.add((left, right))
                    yield left, right
