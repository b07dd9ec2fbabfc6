"""Near-duplicates: MinHash finds candidates, true Jaccard similarity decides, union-find makes clusters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.data.minhash import BANDS, Signatures, band_keys, signatures
from outcrop.data.shingles import FlatShingles, Hashes, Shingler, distinct, jaccard, normalise

THRESHOLD = 0.85
SLACK = 0.1
"""How far a signature's estimate may lie below the threshold: three standard errors of 125 permutations at 0.85."""

WINDOW = 64
"""In a bucket of more rows than this, each is compared with so many that follow it in the order of signatures."""

Rows = NDArray[np.int64]


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
    different, rows = list(first_row), np.array(list(first_row.values()), dtype=np.int64)
    flat = Shingler.fit(different).flat(different)
    roots = list(range(len(different)))
    sets: dict[int, Hashes] = {}
    rejected: set[tuple[int, int]] = set()
    for pairs in similar_pairs(signatures(flat.hashes, flat.offsets), threshold - SLACK):
        for pair in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True):
            left, right = _root(roots, pair[0]), _root(roots, pair[1])
            if left == right or pair in rejected:
                continue
            if jaccard(_set(sets, flat, pair[0]), _set(sets, flat, pair[1])) >= threshold:
                roots[max(left, right)] = min(left, right)
            else:
                rejected.add(pair)
    clustered = np.array([rows[_root(roots, index)] for index in range(len(different))], dtype=np.int64)
    position = {int(row): index for index, row in enumerate(rows)}
    return np.array([clustered[position[int(row)]] for row in groups], dtype=np.int64)


def similar_pairs(matrix: Signatures, floor: float) -> Iterator[Pairs]:
    """Pairs whose estimated similarity is at least `floor`, band by band; a pair may come several times."""
    keys = band_keys(matrix)
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
        sets[index] = distinct(flat.hashes[flat.offsets[index] : flat.offsets[index + 1]])
    return sets[index]
