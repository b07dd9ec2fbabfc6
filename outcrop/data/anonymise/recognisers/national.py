"""Numbers that states give to people: Presidio's patterns and check digits, tried only where they can apply."""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from outcrop.data.anonymise.findings import Finding

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

PLAIN_SCORE = 0.5
VAGUE = {"us", "united", "states", "id", "check", "call", "pass", "cf", "pi", "fin", "sin", "permit", "number", "epic", "pan"}
"""Words of Presidio's contexts that stand in any text; alone they prove nothing."""

BEFORE, AFTER = 60, 20
"""Characters around a number in which a word may name it."""

MIXED = re.compile(r"\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])(?:[A-Za-z0-9]{8,})\b")
CONTEXT_SCORE, CHECKED_SCORE = 0.7, 0.75
FEW_DIGITS = re.compile(r"(?:\d[^\d\n]{0,2}){4}|\d[A-Z]\d[A-Z]")


class NationalIdRecogniser:
    """National numbers by country; those that any number could be, only where a word beside them names them."""

    types = ("national-id",)

    def __init__(self) -> None:
        self._recognisers = load_recognisers()
        self._contexts: list[re.Pattern[str]] = []
        self._by_word: dict[str, list[int]] = defaultdict(list)
        for index, recogniser in enumerate(self._recognisers):
            words = {word.casefold() for word in recogniser.context or ()} - VAGUE
            self._contexts.append(_any_of(words))
            for word in words:
                self._by_word[word].append(index)
        self._any_context = _any_of(self._by_word)
        self._plain = [i for i, each in enumerate(self._recognisers) if each.supported_entities[0] in PLAIN]
        self._checked = [i for i, each in enumerate(self._recognisers) if _has_check(each)]

    def __reduce__(self) -> tuple[Any, ...]:
        return NationalIdRecogniser, ()

    def find(self, text: str) -> Iterator[Finding]:
        """Every national number of the text."""
        if not FEW_DIGITS.search(text):
            return
        wanted = set(self._plain)
        for match in self._any_context.finditer(text):
            wanted.update(self._by_word[match.group().casefold()])
        if MIXED.search(text):
            wanted.update(self._checked)
        for index in sorted(wanted):
            yield from self._results(index, text)

    def _results(self, index: int, text: str) -> Iterator[Finding]:
        recogniser = self._recognisers[index]
        entity = recogniser.supported_entities[0]
        for result in recogniser.analyze(text, [entity], None):
            value = text[result.start : result.end]
            around = text[max(0, result.start - BEFORE) : result.start] + " | " + text[result.end : result.end + AFTER]
            score = 0.0
            if self._contexts[index].search(around) and any(character.isdigit() for character in value):
                score = CONTEXT_SCORE + result.score / 4
            elif entity in PLAIN and result.score >= PLAIN_SCORE and value == value.upper():
                score = 0.6
            elif result.score == 1.0 and MIXED.fullmatch(value) and value == value.upper():
                score = CHECKED_SCORE
            if score:
                yield Finding("national-id", result.start, result.end, score, f"presidio:{entity.lower()}")


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
    made = [each() for each in dict.fromkeys(classes)]
    return [each for each in made if each.supported_entities[0] not in NOT_OF_PEOPLE]


def _has_check(recogniser: Any) -> bool:
    base = importlib.import_module("presidio_analyzer").PatternRecognizer
    return type(recogniser).validate_result is not base.validate_result


def _any_of(words: Any) -> re.Pattern[str]:
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)


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
