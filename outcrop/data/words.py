"""Texts as multisets of words, on which "almost the same" is measured whatever the case, punctuation and order.

The n-th occurrence of a word in a text is an element of its own, so that the Jaccard similarity of two sets is that of
the multisets. One word changed in ten gives 9/11 = 0.82, whatever the length of the words. Writing without spaces is
compared character by character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BATCH_TEXTS = 4096
LARGEST_MEAN = 1000
"""Words per text, on average, above which only a share of them, chosen by hash, is kept."""

SOFT = '\t\n\r\x0b\x0c.,;:!?"()[]{}“”„«»‹›…·•¿¡‐–—_`´'
PUNCTUATION = {ord(sign): " " for sign in SOFT} | {ord(sign): "" for sign in "'’‘ʼ"}
DASH = re.compile(r"(?<![^\W\d_])-(?=\d)|(?<=\d) ?- ?(?=\d)")
"""A minus or a range, which means something; other hyphens join words."""

UNSPACED = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese."""

FACTOR = np.uint64(0x9E3779B97F4A7C15)
MIXERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
ROW_BITS = 12
Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]


class Bags(NamedTuple):
    """The words of many texts; those of text i are hashes[offsets[i]:offsets[i + 1]], sorted, each once.

    numbers: for each text one value for all words with a digit; equal where these are the same, in any order.
    """

    hashes: Hashes
    offsets: Offsets
    numbers: Hashes


def spelled(text: str) -> str:
    """The text as words separated by single spaces: without case and punctuation; never empty."""
    plain = text.lower() if text.isascii() else UNSPACED.sub(r" \1 ", unicodedata.normalize("NFKC", text).casefold())
    if "-" in plain:
        plain = DASH.sub(" − ", plain).replace("-", " ")
    return " ".join(plain.translate(PUNCTUATION).split()) or " ".join(plain.split()) or "\0"


def bags(texts: Sequence[str], keep_one_in: int = 1) -> Bags:
    """The bags of many texts. keep_one_in: the share of the words that is kept, at least one of each text."""
    batches = [_batch(texts[start : start + BATCH_TEXTS]) for start in range(0, len(texts), BATCH_TEXTS)]
    if not batches:
        return Bags(np.empty(0, np.uint64), np.zeros(1, np.int64), np.empty(0, np.uint64))
    hashes = np.concatenate([batch.hashes for batch in batches])
    counts = np.concatenate([np.diff(batch.offsets) for batch in batches])
    found = Bags(hashes, _offsets(counts), np.concatenate([batch.numbers for batch in batches]))
    return found if keep_one_in == 1 else _thinned(found, keep_one_in)


def share_to_keep(texts: Sequence[str]) -> int:
    """One word in how many is to be kept, by the mean length of a sample."""
    mean = sum(text.count(" ") + 1 for text in texts) / max(1, len(texts))
    keep = 1
    while mean / keep > LARGEST_MEAN:
        keep *= 2
    return keep


def similarity(left: Hashes, right: Hashes) -> float:
    """|A ∩ B| / |A ∪ B| of two bags, which are sorted."""
    both = np.concatenate([left, right])
    both.sort()
    common = int((both[1:] == both[:-1]).sum())
    return common / (len(both) - common)


def mixed(values: Hashes) -> Hashes:
    """Bits spread evenly: the finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * MIXERS[0]
    values = (values ^ (values >> np.uint64(27))) * MIXERS[1]
    return values ^ (values >> np.uint64(31))


def _batch(texts: Sequence[str]) -> Bags:
    """The bags of up to BATCH_TEXTS texts."""
    words = [spelled(text) for text in texts]
    hashes, numeric = _hashed(" ".join(words))
    counts = np.array([text.count(" ") + 1 for text in words], dtype=np.int64)
    row = np.repeat(np.arange(len(words), dtype=np.uint64), counts)
    offsets = _offsets(counts)
    numbers = np.add.reduceat(np.where(numeric, mixed(hashes), np.uint64(0)), offsets[:-1])
    return Bags(_numbered(row, hashes), offsets, numbers)


def word_hashes(words: str) -> Hashes:
    """The hash of each word of a `spelled` text, in order."""
    return _hashed(words)[0]


def _hashed(words: str) -> tuple[Hashes, NDArray[np.bool_]]:
    """For each word between single spaces its hash, and whether it has a digit."""
    codes = np.frombuffer(words.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    gaps = np.flatnonzero(codes == ord(" "))
    starts = np.concatenate([[0], gaps + 1])
    lengths = np.diff(np.concatenate([starts, [len(codes) + 1]])) - 1
    place = np.arange(len(codes)) - np.repeat(starts, lengths + 1)[: len(codes)]
    terms = mixed(codes + FACTOR * (place + 1).astype(np.uint64))
    terms[gaps] = 0
    digits = (codes >= ord("0")) & (codes <= ord("9"))
    numeric = np.maximum.reduceat(digits.view(np.uint8), starts).astype(bool)
    return np.add.reduceat(terms, starts), numeric


def _numbered(row: Hashes, hashes: Hashes) -> Hashes:
    """Hashes of (word, how many of it stood before in the text), sorted within each text."""
    shift, width = np.uint64(64 - ROW_BITS), np.uint64(ROW_BITS)
    keys = np.sort(row << shift | hashes >> width)
    first = np.ones(len(keys), dtype=bool)
    first[1:] = keys[1:] != keys[:-1]
    begin = np.flatnonzero(first)
    occurrence = np.arange(len(keys)) - np.repeat(begin, np.diff(np.concatenate([begin, [len(keys)]])))
    row = keys >> shift
    elements = mixed((keys << width) + occurrence.astype(np.uint64))
    ordered = np.sort(row << shift | elements >> width)
    return ordered << width


def _thinned(found: Bags, keep_one_in: int) -> Bags:
    counts = np.diff(found.offsets)
    smallest = np.repeat(found.hashes[found.offsets[:-1]], counts)
    kept = ((found.hashes >> np.uint64(ROW_BITS)) % np.uint64(keep_one_in) == 0) | (found.hashes == smallest)
    counts = np.add.reduceat(kept.astype(np.int64), found.offsets[:-1])
    return Bags(found.hashes[kept], _offsets(counts), found.numbers)


def _offsets(counts: NDArray[np.int64]) -> Offsets:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
