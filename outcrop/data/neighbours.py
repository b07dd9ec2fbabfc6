"""Near-duplicates: MinHash finds candidates, true Jaccard similarity decides, union-find makes clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.data.minhash import BANDS, band_keys, signatures
from outcrop.data.shingles import Hashes, Shingler, distinct, jaccard, normalise

THRESHOLD = 0.85
SLACK = 0.1
"""How far a signature's estimate may lie below the threshold: three standard errors of 125 permutations at 0.85."""

WINDOW = 64
"""In a bucket of more rows than this, each is compared with so many that follow it in the order of signatures."""

Rows = NDArray[np.int64]


class Pairs(NamedTuple):
    """Pairs of rows of one bucket, left < right, the similarity that their signatures estimate, and the band."""

    left: Rows
    right: Rows
    estimate: NDArray[np.float64]
    band: int


class Prints(NamedTuple):
    """What is compared of each row: a hash that equal texts share, the keys of bands, the signature or bytes of it."""

    same: NDArray[np.uint64]
    bands: NDArray[np.uint64]
    signature: NDArray[Any]


def clusters(texts: Sequence[str], threshold: float = THRESHOLD) -> Rows:
    """For each text the number of the first row of its cluster; see `clusters_of`."""
    normalised = [normalise(text) for text in texts]
    flat = Shingler.fit(normalised).flat(normalised)
    matrix = signatures(flat.hashes, flat.offsets)
    first: dict[str, int] = {}
    same = np.array([first.setdefault(text, row) for row, text in enumerate(normalised)], dtype=np.uint64)

    def shingles(row: int) -> Hashes:
        return distinct(flat.hashes[flat.offsets[row] : flat.offsets[row + 1]])

    return clusters_of(Prints(same, band_keys(matrix), matrix), shingles, threshold)


def clusters_of(
    prints: Prints,
    of: Callable[[int], NDArray[Any]],
    threshold: float = THRESHOLD,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Rows:
    """For each row the number of the first row of its cluster.

    Rows are in one cluster if a chain of pairs with Jaccard similarity ≥ threshold, or equal after normalisation,
    connects them. of: the sorted set of a row's shingles; tell: hears of the bands that are done.
    """
    _, first, inverse = np.unique(prints.same, return_index=True, return_inverse=True)
    rows = np.sort(first)
    whole = len(rows) == len(prints.same)
    matrix, keys = (each if whole else each[rows] for each in (prints.signature, prints.bands))
    roots = list(range(len(rows)))
    seen = np.empty(0, dtype=np.int64)
    for pairs in similar_pairs(matrix, threshold - SLACK, keys):
        tell(pairs.band, BANDS)
        found = np.setdiff1d(pairs.left * len(rows) + pairs.right, seen)
        seen = np.union1d(seen, found) if len(found) else seen
        for place in found.tolist():
            left, right = divmod(place, len(rows))
            left_root, right_root = _root(roots, left), _root(roots, right)
            if left_root != right_root and jaccard(of(int(rows[left])), of(int(rows[right]))) >= threshold:
                roots[max(left_root, right_root)] = min(left_root, right_root)
    cluster = rows[[_root(roots, index) for index in range(len(rows))]] if len(rows) else rows
    clustered: Rows = cluster[np.searchsorted(rows, first)[inverse]]
    return clustered


def similar_pairs(matrix: NDArray[Any], floor: float, keys: NDArray[np.uint64] | None = None) -> Iterator[Pairs]:
    """Pairs whose estimated similarity is at least `floor`, band by band; a pair may come several times.

    keys: of the bands; without them the matrix holds whole signatures.
    """
    by_band = np.ascontiguousarray((band_keys(matrix) if keys is None else keys).T)
    for band in range(BANDS):
        # Rows of a bucket stand side by side, ordered by the next band, so that the most alike are the nearest.
        shared = _shared(by_band[band])
        order = shared[np.lexsort((by_band[(band + 1) % BANDS][shared], by_band[band][shared]))]
        bucket = by_band[band][order]
        for distance in range(1, WINDOW + 1):
            same = np.flatnonzero(bucket[:-distance] == bucket[distance:])
            if not len(same):
                break
            left, right = order[same], order[same + distance]
            estimate = _estimates(matrix, left, right)
            near = estimate >= floor
            yield Pairs(np.minimum(left, right)[near], np.maximum(left, right)[near], estimate[near], band)


def _shared(key: NDArray[np.uint64]) -> Rows:
    """The rows whose key another row has, too."""
    order = np.argsort(key)
    shared = np.zeros(len(key), dtype=bool)
    same = np.flatnonzero(key[order][1:] == key[order][:-1])
    shared[order[same]] = shared[order[same + 1]] = True
    return np.flatnonzero(shared)


def _estimates(matrix: NDArray[Any], left: Rows, right: Rows) -> NDArray[np.float64]:
    parts = [slice(start, start + 65536) for start in range(0, len(left), 65536)]
    found = [(matrix[left[part]] == matrix[right[part]]).mean(axis=1) for part in parts]
    return np.concatenate(found)


def _root(roots: list[int], index: int) -> int:
    while roots[index] != index:
        roots[index] = roots[roots[index]]
        index = roots[index]
    return index
