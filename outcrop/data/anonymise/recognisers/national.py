"""Numbers that states give to people: Presidio's patterns and check digits, tried only where they can apply."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import pkgutil
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from outcrop.data.anonymise.findings import Finding
from outcrop.data.anonymise.lexicon import any_of

HEAVY = ("torch", "transformers", "gliner", "stanza")
"""What Presidio and spaCy import where they can; none of it is used here, and it costs seconds and 300 MB a process."""

NOT_OF_PEOPLE = {
    "AU_ABN", "AU_ACN", "DE_BSNR", "DE_HANDELSREGISTER", "DE_VAT_ID", "IN_GSTIN", "IT_VAT_CODE", "KR_BRN",
    "SE_ORGANISATIONSNUMMER", "SG_UEN", "ZA_COMPANY_REGISTRATION", "ZA_VAT_NUMBER", "ABA_ROUTING_NUMBER",
    "CA_POSTAL_CODE", "DE_PLZ", "UK_POSTCODE", "US_PRIOR_AUTHORIZATION_NUMBER", "US_REFERRAL_NUMBER", "US_CLAIM_NUMBER",
    "US_PROVIDER_TAX_ID",
}  # fmt: skip
"""Numbers of firms, banks, cases and towns."""

PLAIN = {"US_SSN", "US_ITIN", "UK_NINO", "IN_PAN"}
"""Numbers whose usual way of writing is enough, without a word that names them."""

VAGUE = {
    "us",
    "united",
    "states",
    "id",
    "check",
    "call",
    "pass",
    "cf",
    "pi",
    "fin",
    "sin",
    "permit",
    "number",
    "epic",
    "pan",
}
"""Words of Presidio's contexts that stand in any text; alone they prove nothing."""

CONTEXTS = {
    "US_BANK_NUMBER": ("bank account", "account number", "account no", "acct", "checking", "routing"),
    "US_DRIVER_LICENSE": ("driver's license", "drivers license", "driver license", "driving license", "dl", "licence"),
}
"""Contexts in place of Presidio's, which say too little ("account")."""

BEFORE, AFTER = 60, 20
"""Characters around a number in which a word may name it."""

MIXED = re.compile(r"\b(?=[A-Z]*\d)(?=\d*[A-Z])[A-Z0-9]{8,16}\b")
PLAIN_FORM = re.compile(
    r"\b\d{3}[- .]\d{2}[- .]\d{4}\b|\b[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b|\b[A-Z]{5}\d{4}[A-Z]\b"
)
CONTEXT_SCORE, PLAIN_SCORE, CHECKED_SCORE = 0.7, 0.6, 0.75
FEWEST_DIGITS = 4
SOME_DIGITS = re.compile(r"(?:\d[^\d\n]{0,2}){3}\d|\d[A-Z]\d[A-Z]")
WORD = re.compile(r"[^\W\d_]+")

Span = tuple[int, int]


class NationalIdRecogniser:
    """National numbers by country; those that any number could be, only where a word beside them names them."""

    types = ("national-id",)

    def __init__(self) -> None:
        if importlib.util.find_spec("presidio_analyzer") is None:
            raise ModuleNotFoundError("No module named 'presidio_analyzer'", name="presidio_analyzer")
        self._recognisers: list[Any] = []
        self._contexts: list[re.Pattern[str]] = []
        self._by_word: dict[str, list[int]] = defaultdict(list)

    def _load(self) -> None:
        """Import Presidio, which takes a second: done when the first text needs it."""
        self._recognisers = load_recognisers()
        for index, recogniser in enumerate(self._recognisers):
            phrases = CONTEXTS.get(recogniser.supported_entities[0]) or recogniser.context or ()
            wanted = {phrase.casefold() for phrase in phrases} - VAGUE
            self._contexts.append(_any_of(wanted))
            for phrase in wanted:
                for word in WORD.findall(phrase)[:1]:
                    self._by_word[word].append(index)
        self._known_words = frozenset(self._by_word)
        self._plain = [i for i, each in enumerate(self._recognisers) if each.supported_entities[0] in PLAIN]
        self._checked = [i for i, each in enumerate(self._recognisers) if _has_check(each)]

    def __reduce__(self) -> tuple[Any, ...]:
        return NationalIdRecogniser, ()

    def find(self, text: str) -> Iterator[Finding]:
        """Every national number of the text. Only the surroundings of a hint are searched."""
        if not SOME_DIGITS.search(text):
            return
        if not self._recognisers:
            self._load()
        for word in self._known_words & set(WORD.findall(text.casefold())):
            for index in self._by_word[word]:
                named = [match.span() for match in self._contexts[index].finditer(text)]
                yield from self._results(index, text, [(a - AFTER, b + BEFORE) for a, b in named], CONTEXT_SCORE)
        for match in PLAIN_FORM.finditer(text):
            for index in self._plain:
                yield from self._results(index, text, [match.span()], PLAIN_SCORE)
        for match in MIXED.finditer(text):
            for index in self._checked:
                yield from self._results(index, text, [match.span()], CHECKED_SCORE)

    def _results(self, index: int, text: str, windows: list[Span], score: float) -> Iterator[Finding]:
        """What one recogniser finds inside of the windows, which grow to whole words."""
        recogniser = self._recognisers[index]
        entity = recogniser.supported_entities[0]
        for begin, end in _merged(text, windows):
            for result in recogniser.analyze(text[begin:end], [entity], None):
                start, stop = begin + result.start, begin + result.end
                digits = sum(character.isdigit() for character in text[start:stop])
                if score == PLAIN_SCORE and result.score < PLAIN_SCORE - 0.1:
                    continue
                if score == CHECKED_SCORE and (result.score < 1 or stop - start != end - begin):
                    continue
                if digits >= FEWEST_DIGITS:
                    total = min(0.95, score + result.score / 4)
                    yield Finding("national-id", start, stop, total, f"presidio:{entity.lower()}")


def _merged(text: str, windows: list[Span]) -> list[Span]:
    """The windows inside of the text, grown to white space on both sides; those that meet are one."""
    merged: list[Span] = []
    for begin, end in sorted(windows):
        begin, end = max(0, begin), min(len(text), end)
        while begin > 0 and text[begin - 1].isalnum():
            begin -= 1
        while end < len(text) and text[end].isalnum():
            end += 1
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def load_recognisers() -> list[Any]:
    """Presidio's recognisers of people's numbers, of all countries."""
    with _without(HEAVY):
        folder = importlib.import_module("presidio_analyzer.predefined_recognizers.country_specific")
        base = importlib.import_module("presidio_analyzer").PatternRecognizer
        modules = [each.name for each in pkgutil.walk_packages(folder.__path__, f"{folder.__name__}.")]
        loaded = [importlib.import_module(name) for name in sorted(modules)]
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    classes = [
        item
        for module in loaded
        for item in vars(module).values()
        if inspect.isclass(item) and issubclass(item, base) and item.__module__ == module.__name__
    ]
    made: list[Any] = [each() for each in dict.fromkeys(classes)]
    return [each for each in made if each.supported_entities[0] not in NOT_OF_PEOPLE]


def _has_check(recogniser: Any) -> bool:
    base = importlib.import_module("presidio_analyzer").PatternRecognizer
    return type(recogniser).validate_result is not base.validate_result


def _any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){any_of(phrases)}(?!\w)", re.IGNORECASE)


@contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    """Imports of these modules fail inside the block, as if they were not installed, unless they are loaded already."""
    barred = [name for name in names if name not in sys.modules]
    for name in barred:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in barred:
            del sys.modules[name]
