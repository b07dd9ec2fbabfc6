"""Known first names, last names, towns, states and countries, and the English words that look like them."""

from __future__ import annotations

import lzma
import unicodedata
from functools import lru_cache
from pathlib import Path

WORDS = Path(__file__).parent / "bundled" / "words.tsv.xz"
"""Folded word or phrase, tab, flags. Sources and licences are in the README beside it."""

FEMALE, MALE, FIRST, LAST = "f", "m", "n", "l"
TOWN, FAMOUS, STATE, COUNTRY = "c", "C", "s", "k"
COMMON = "w"
LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "’": "'"})


def fold(word: str) -> str:
    """The form under which a word is listed: small letters without accents."""
    small = word.casefold()
    if small.isascii():
        return small
    plain = unicodedata.normalize("NFKD", small.translate(LETTERS))
    return "".join(character for character in plain if not unicodedata.combining(character))


@lru_cache(maxsize=1)
def words() -> dict[str, str]:
    """Every listed word and phrase, folded → its flags. Read once per process."""
    with lzma.open(WORDS, "rt", encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split("\t") for line in lines)
