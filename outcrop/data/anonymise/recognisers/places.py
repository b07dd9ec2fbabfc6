"""Towns, states and countries: by lists, and by what stands before an unknown name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from outcrop.data.anonymise.findings import Finding
from outcrop.data.anonymise.gazetteer import COUNTRY, FAMOUS, FEMALE, FIRST, LAST, MALE, STATE, TOWN, fold, words
from outcrop.data.anonymise.lexicon import lexicon
from outcrop.data.anonymise.runs import Word, longest_phrase

PEOPLE = FEMALE + MALE + FIRST + LAST

LIVES_BEFORE = re.compile(
    r"\b(?:live[sd]?|living|born|grew up|based|resid(?:e|es|ed|ing)|moved (?:here |there )?(?:from|to|in)|"
    r"originally from|"
    r"(?:travel(?:l?ing)?|fl(?:y|ies|ew|ying)|going|went|trip|move|moving|return(?:ed)?|relocat\w+|drive|drove) to|"
    r"(?:i['’]?m|i am|we['’]re|we are|he['’]s|she['’]s) (?:in|from)|visit(?:ed|ing)?|city of|town of|welcome to|"
    r"(?:city|country|town|place of birth|location|where):)\s+(?:in |from |near )?(?:the )?$",
    re.IGNORECASE,
)
PREPOSITION_BEFORE = re.compile(
    r"\b(?:in|from|to|at|near|of|around|across|via|visit|outside|inside|into)\s+(?:the )?$", re.IGNORECASE
)
IN_BEFORE = re.compile(r"\b(?:in|at|near|outside|across) $", re.IGNORECASE)
REGION_BEFORE = re.compile(
    r"\b(?:in|from|to|near|around|across) (?:north|south|east|west|northern|southern|eastern|western|central|"
    r"greater|upper|lower)\s+$",
    re.IGNORECASE,
)
PART = frozenset(["North", "South", "East", "West", "Northern", "Southern", "Eastern", "Western", "Central"])
NOT_PLACES = frozenset(lexicon("not_places"))
NOT_IN_PLACES = frozenset(lexicon("not_in_places"))
AMBIGUOUS_COUNTRIES = frozenset(lexicon("ambiguous_countries"))

CONTEXT_CHARS = 32


def places(text: str, run: Sequence[Word]) -> Iterator[Finding]:
    """The places in one run of capitalised words."""
    begin = 0
    while begin < len(run):
        before = text[max(0, run[begin].start - CONTEXT_CHARS) : run[begin].start]
        if begin == 0 and LIVES_BEFORE.search(before):
            end = _end_of_unknown(run)
            if end:
                yield Finding("place", run[0].start, run[end - 1].end, 0.75, "place:context")
                begin = end
                continue
        end = longest_phrase(run, begin, COUNTRY + STATE + FAMOUS + TOWN)
        if end == begin:
            begin += 1
            continue
        score, rule = _score(text, run[begin:end], before)
        if score:
            yield Finding("place", run[begin].start, run[end - 1].end, score, f"place:{rule}")
        begin = end


def _end_of_unknown(run: Sequence[Word]) -> int:
    """How many words of a run after "lives in" are the place's."""
    end = 0
    while end < min(len(run), 5) and run[end].text.casefold() not in NOT_PLACES | NOT_IN_PLACES:
        end += 1
    while end and run[end - 1].text.islower():
        end -= 1
    return end if any(not word.common or word.has(TOWN + STATE + COUNTRY) for word in run[:end]) else 0


def _score(text: str, phrase: Sequence[Word], before: str) -> tuple[float, str]:
    flags = words().get(" ".join(fold(word.text) for word in phrase), "")
    if phrase[0].text.casefold() in NOT_PLACES or (
        len(phrase[0].text) < 4 and phrase[0].text not in ("UK", "USA", "UAE")
    ):
        return (0.7, "town") if len(phrase) > 1 else (0.0, "")
    named = (
        PREPOSITION_BEFORE.search(before)
        or REGION_BEFORE.search(before)
        or text[phrase[0].start - 2 : phrase[0].start] == ", "
    )
    alone = len(phrase) == 1
    if COUNTRY in flags:
        return (0.8 if named or phrase[0].text.casefold() not in AMBIGUOUS_COUNTRIES else 0.45), "country"
    if all(word.common for word in phrase) and not any(flag in flags for flag in FAMOUS + STATE):
        return 0.0, ""
    person = alone and phrase[0].has(PEOPLE)
    if STATE in flags or FAMOUS in flags:
        return (0.75 if named or not person else 0.5), "state" if STATE in flags else "city"
    if person:
        return (0.75 if IN_BEFORE.search(before) else 0.3), "town"
    return (0.75 if named else 0.7 if not alone else 0.55), "town"
