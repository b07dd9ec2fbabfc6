"""Words of a text, and runs of words that begin with a capital: where names and places can stand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from outcrop.data.anonymise.gazetteer import COMMON, fold, words
from outcrop.data.anonymise.lexicon import lexicon

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
POSSESSIVE = re.compile(r"['’][sS]$")
SENTENCE_END = re.compile(r"(?:^|[.!?:;]['\")»”]?\s+|\n\s*|[\"“«>•*-]\s*)$")
PARTICLES = frozenset(lexicon("particles"))
"""Small words inside of names."""


class Word(NamedTuple):
    """A word, where it stands, and its flags in the gazetteer."""

    text: str
    start: int
    end: int
    flags: str

    @property
    def common(self) -> bool:
        """Whether it is mostly written small."""
        return COMMON in self.flags

    def has(self, flags: str) -> bool:
        """Whether it has one of the flags."""
        return any(flag in self.flags for flag in flags)

    @property
    def initial(self) -> bool:
        """Whether it is one letter."""
        return self.end - self.start == 1


HANDLE_BEFORE, HANDLE_AFTER = ("@", "#", "_"), ("@", "_")
"""Signs of names that accounts, tags and variables have."""

NAMED = "fmnlcCsk"
"""Flags of names and places."""


def runs(text: str) -> Iterator[list[Word]]:
    """Words beginning with a capital that follow each other with one space, or an initial's full stop, between them.

    A run goes on over particles ("van der") if a word with a capital follows. In a text without any capital the words
    that are listed as nothing but names stand for them.
    """
    known = words()
    small = text.islower()
    run: list[Word] = []
    waiting: list[Word] = []
    for match in WORD.finditer(text):
        token, start = match.group(), match.start()
        if token[-2:] in ("'s", "’s", "'S", "’S"):
            token = token[:-2]
        flags = known.get(fold(token), "")
        listed = small and COMMON not in flags and any(flag in NAMED for flag in flags)
        handle = text[max(0, start - 1) : start] in HANDLE_BEFORE or text[match.end() : match.end() + 1] in HANDLE_AFTER
        capital = (token[0].isupper() or listed) and not handle
        if not capital and not (run and token in PARTICLES):
            if run:
                yield run
            run, waiting = [], []
            continue
        last = waiting[-1] if waiting else run[-1] if run else None
        if last is not None and not _joined(text, last, start):
            yield run
            run, waiting = [], []
            if not capital:
                continue
        word = Word(token, start, start + len(token), flags)
        if capital:
            run += [*waiting, word]
            waiting = []
        else:
            waiting.append(word)
    if run:
        yield run


def _joined(text: str, last: Word, start: int) -> bool:
    between = text[last.end : start]
    return between == " " or (between in (". ", ".") and last.initial)


def begins_sentence(text: str, start: int) -> bool:
    """Whether a capital at this place may be the sentence's."""
    return SENTENCE_END.search(text, max(0, start - 8), start) is not None or not text[:start].strip()


def is_shouting(text: str) -> bool:
    """Whether a text is written in capitals, so that they mean nothing."""
    letters = [character for character in text if character.isalpha()]
    return len(letters) > 20 and sum(character.isupper() for character in letters) > 0.7 * len(letters)


def longest_phrase(run: Sequence[Word], begin: int, flags: str, longest: int = 5) -> int:
    """The end of the longest phrase of the gazetteer with one of the flags that begins at `begin`; `begin` if none."""
    known = words()
    for end in range(min(len(run), begin + longest), begin, -1):
        phrase = " ".join(fold(word.text) for word in run[begin:end])
        if any(flag in known.get(phrase, "") for flag in flags):
            return end
    return begin
