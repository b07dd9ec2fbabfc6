"""Texts as sets of hashed character 5-grams, on which "almost equal" is measured as Jaccard similarity.

A shared frame around all texts (an instruction before, a cue after) would make short rows look alike; it is found on
a sample and left out. Of long documents only every k-th shingle by hash is kept, the same for all texts of a set.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

WIDTH = 5
"""Characters in a shingle."""

FRAME_ROWS = 20
"""Fewer different texts than this have no shared frame: they may simply be alike."""

LARGEST_MEAN = 1000
"""Shingles per text, on average, above which only a share of them is kept."""

BATCH_CHARACTERS = 1 << 22
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
MIXER = np.uint64(0xBF58476D1CE4E5B9)

Hashes = NDArray[np.uint64]
Integer = TypeVar("Integer", bound=np.integer[Any])


def normalise(text: str) -> str:
    """The text with Unicode forms, letter case and white space made equal; what "the same prompt" means."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


class FlatShingles(NamedTuple):
    """Shingle hashes of many texts in one array; those of text i are hashes[offsets[i]:offsets[i + 1]], unsorted."""

    hashes: Hashes
    offsets: NDArray[np.int64]


@dataclass(frozen=True)
class Shingler:
    """How normalised texts become shingles: without the frame, one in `keep_one_in` kept."""

    prefix: str = ""
    suffix: str = ""
    keep_one_in: int = 1

    @classmethod
    def fit(cls, normalised: Iterable[str]) -> Shingler:
        """Find the frame and the share to keep on normalised texts, or on a sample of them, in any order."""
        sample = sorted(set(normalised))
        if not sample:
            return cls()
        prefix = suffix = ""
        if len(sample) >= FRAME_ROWS:
            prefix = _shared_words(sample)
            suffix = _shared_words(sorted(text.removeprefix(prefix)[::-1] for text in sample))[::-1]
        mean = sum(len(text) - len(prefix) - len(suffix) for text in sample) / len(sample)
        keep = 1
        while mean / keep > LARGEST_MEAN:
            keep *= 2
        return cls(prefix, suffix, keep)

    def flat(self, normalised: Sequence[str]) -> FlatShingles:
        """The shingles of many texts; every text has at least one."""
        batches = [self._batch(batch) for batch in _batches([self._body(text) for text in normalised])]
        if not batches:
            return FlatShingles(np.empty(0, np.uint64), np.zeros(1, np.int64))
        counts = np.concatenate([np.diff(batch.offsets) for batch in batches])
        return FlatShingles(np.concatenate([batch.hashes for batch in batches]), _offsets(counts))

    def _batch(self, bodies: Sequence[str]) -> FlatShingles:
        lengths = np.array([len(body) for body in bodies], dtype=np.int64)
        codes = np.frombuffer("".join(bodies).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
        hashes = np.zeros(max(len(codes) - WIDTH + 1, 0), dtype=np.uint64)
        for shift in range(WIDTH):
            hashes = hashes * MULTIPLIER + codes[shift : shift + len(hashes)]
        hashes ^= hashes >> np.uint64(31)
        hashes *= MIXER
        hashes ^= hashes >> np.uint64(29)
        inside = np.ones(len(codes), dtype=bool)
        inside[np.cumsum(lengths)[:, None] - np.arange(1, WIDTH)] = False
        counts = lengths - WIDTH + 1
        return self._kept(hashes[inside[: len(hashes)]], counts)

    def _body(self, text: str) -> str:
        body = text.removeprefix(self.prefix).removesuffix(self.suffix)
        return body if len(body) >= WIDTH else body.ljust(WIDTH)

    def _kept(self, hashes: Hashes, counts: NDArray[np.int64]) -> FlatShingles:
        offsets = _offsets(counts)
        if self.keep_one_in == 1:
            return FlatShingles(hashes, offsets)
        smallest = np.repeat(np.minimum.reduceat(hashes, offsets[:-1]), counts)
        kept = (hashes % np.uint64(self.keep_one_in) == 0) | (hashes == smallest)
        counts = np.add.reduceat(kept.astype(np.int64), offsets[:-1])
        return FlatShingles(hashes[kept], _offsets(counts))


def _batches(bodies: Sequence[str]) -> Iterator[list[str]]:
    """Texts in batches that bound the memory of the hashing."""
    batch: list[str] = []
    characters = 0
    for body in bodies:
        batch.append(body)
        characters += len(body)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def distinct(values: NDArray[Integer]) -> NDArray[Integer]:
    """The values sorted and without repetition; np.unique hashes instead, which is slow on keys with a pattern."""
    ordered = np.sort(values)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def jaccard(left: NDArray[Integer], right: NDArray[Integer]) -> float:
    """|A ∩ B| / |A ∪ B| of two sorted sets of shingles."""
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / (len(left) + len(right) - common)


def _shared_words(ordered: Sequence[str]) -> str:
    """The beginning that 98 % of the sorted texts share, up to its last space: a frame ends between words."""
    outliers = len(ordered) // 100
    first, last = ordered[outliers], ordered[-1 - outliers]
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    return first[: first.rfind(" ", 0, shared) + 1]
