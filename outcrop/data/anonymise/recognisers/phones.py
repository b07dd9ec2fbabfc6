"""Phone numbers: what looks like one, checked against the numbering plans of its country (libphonenumber)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import phonenumbers

from outcrop.data.anonymise.findings import Finding

CANDIDATE = re.compile(
    r"(?<![\w.,$€£%/:-])(?:\+ ?|\(\+?)?\d(?:[ \u00a0]?[-./()–]{0,2}[ \u00a0]?\d){6,16}(?: ?(?:x|"
    r"ext\.?) ?\d{1,6})?(?![\w%]|[.,:/-]\d)"
)
NO_PHONE = re.compile(
    r"^\d{3}-\d{2}-\d{4}$|(?:19|20)\d\d[-/. ](?:0?[1-9]|1[0-2])[-/. ]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)\d\d|"
    r"(?:19|20)\d\d ?[-–/] ?(?:19|20)\d\d"
)
"""Dates, spans of years, and the form of a US social security number."""

EXTENSION = re.compile(r" ?(?:x|ext\.?) ?\d+$")
BEFORE = re.compile(
    r"\b(?:(?:tele)?phone|tel|call|calling|ring|mobile|cell(?:phone)?|fax|text|sms|whatsapp|dial|reach|contact|"
    r"messages|landline|hotline|telefon|handy|téléphone|teléfono|telefono|nummer|numéro)\b[^\n\d]{0,30}$",
    re.IGNORECASE,
)
AFTER = re.compile(r"[ \t]*\(?(?:office|fax|mobile|cell|home|work|phone|tel)\b", re.IGNORECASE)
ABROAD = re.compile(r"^\(?(?:\+|00|011 )")
CONTEXT_CHARS = 48
DIGITS = (7, 15)
"""Fewest and most digits of a number (ITU-T E.164 §6.2)."""


class PhoneRecogniser:
    """Numbers valid in a region, and with words such as "call me at" before them also those that are merely possible.

    regions: countries (ISO 3166-1) whose numbers may stand without a country code.
    """

    types = ("phone",)

    def __init__(self, regions: tuple[str, ...]) -> None:
        self._regions = regions

    def find(self, text: str) -> Iterator[Finding]:
        """Every phone number of the text."""
        for match in CANDIDATE.finditer(text):
            number = match.group()
            count = sum(character.isdigit() for character in EXTENSION.sub("", number))
            if not DIGITS[0] <= count <= DIGITS[1] or NO_PHONE.search(number):
                continue
            said = BEFORE.search(text, max(0, match.start() - CONTEXT_CHARS), match.start()) or AFTER.match(
                text, match.end()
            )
            score, rule = self._score(number, bool(said))
            if score:
                yield Finding("phone", match.start(), match.end(), score, f"phone:{rule}")

    def _score(self, number: str, said: bool) -> tuple[float, str]:
        if ABROAD.match(number):
            country = country_of(number)
            return (0.9, country.lower()) if country else (0.6, "context") if said else (0.0, "")
        if number.isdigit() and not said:
            return 0.0, ""
        region = valid_region(number, self._regions)
        if region:
            return (0.85 if said else 0.6), region.lower()
        return (0.6, "context") if said else (0.0, "")


def country_of(number: str) -> str:
    """The country of a valid number written with its country code (+, 00 or 011), or nothing."""
    international = re.sub(r"^\(?(?:\+ ?|00|011 )", "+", number)
    try:
        parsed = phonenumbers.parse(international, None)
    except phonenumbers.NumberParseException:
        return ""
    return (phonenumbers.region_code_for_number(parsed) or "001") if phonenumbers.is_valid_number(parsed) else ""


@lru_cache(maxsize=4096)
def valid_region(number: str, regions: tuple[str, ...]) -> str:
    """The first of the regions in which the number is valid, or nothing."""
    for region in regions:
        try:
            parsed = phonenumbers.parse(number, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number_for_region(parsed, region):
            return region
    return ""
