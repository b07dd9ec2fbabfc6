"""Short lists of words that recognisers use, read from bundled/lexicon.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

LEXICON = Path(__file__).parent / "bundled" / "lexicon.toml"


def lexicon(name: str) -> tuple[str, ...]:
    """The words of a list, in its order."""
    return _lists()[name]


def any_of(words: Iterable[str]) -> str:
    """A pattern for any of the words, the longest first."""
    return f"(?:{'|'.join(map(re.escape, sorted(words, key=lambda word: (-len(word), word))))})"


@lru_cache(maxsize=1)
def _lists() -> dict[str, tuple[str, ...]]:
    with LEXICON.open("rb") as file:
        return {name: tuple(words) for name, words in tomllib.load(file).items()}
