"""Sentences that many rows share: boilerplate, which a model learns instead of what tells rows apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from outcrop.core.results import JsonReady
from outcrop.data.shingles import normalise

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")
SHORTEST = 30
"""Characters of a sentence below which sharing it says little."""

FEWEST_ROWS = 5
SMALLEST_SHARE = 0.002
SHOWN = 10
SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class SharedSentence(JsonReady):
    """A sentence, cut to what a page can show, in how many rows it stands, and the first of them, from 0."""

    text: str
    rows: int
    first: int


@dataclass(frozen=True)
class Boilerplate(JsonReady):
    """rows: with a shared sentence; characters: share of all characters that stand in shared sentences;
    sentences: how many are shared; most: the most frequent ones."""

    rows: int
    characters: float
    sentences: int
    most: tuple[SharedSentence, ...]


def boilerplate(texts: Sequence[str]) -> Boilerplate:
    """The sentences that stand in at least five texts and 0.2 % of them, equal after normalisation."""
    found: Counter[bytes] = Counter()
    for text in texts:
        found.update({key for key, _ in _sentences(text)})
    fewest = max(FEWEST_ROWS, SMALLEST_SHARE * len(texts))
    shared = {key for key, count in found.items() if count >= fewest}
    first: dict[bytes, tuple[int, str]] = {}
    rows = inside = 0
    for row, text in enumerate(texts):
        held = [(key, sentence) for key, sentence in _sentences(text) if key in shared]
        rows += bool(held)
        inside += sum(len(sentence) for _, sentence in held)
        for key, sentence in held:
            first.setdefault(key, (row, sentence))
    ranked = sorted(shared, key=lambda key: (-found[key], first[key][0]))[:SHOWN]
    most = tuple(SharedSentence(_cut(first[key][1]), found[key], first[key][0]) for key in ranked)
    return Boilerplate(rows, inside / max(sum(map(len, texts)), 1), len(shared), most)


def _sentences(text: str) -> list[tuple[bytes, str]]:
    """The long sentences with a digest of their normal form."""
    pieces = [piece.strip() for piece in SENTENCE_END.split(text) if piece and len(piece) >= SHORTEST]
    return [(blake2b(normalise(piece).encode("utf-8", "surrogatepass"), digest_size=8).digest(), piece)
            for piece in pieces]  # fmt: skip


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN_CHARACTERS else flat[:SHOWN_CHARACTERS].rstrip() + "…"
