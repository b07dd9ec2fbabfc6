"""Dates of birth: dates after words that say so."""

from __future__ import annotations

import re
from collections.abc import Iterator

from outcrop.data.anonymise.findings import Finding

MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t(?:ember)?)?|Oct(?:ober)?|"
    r"Nov(?:ember)?|Dec(?:ember)?)\.?"
)
DATE = (
    r"(?:\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d{2})|\d{4}[/.-]\d{1,2}[/.-]\d{1,2}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {MONTH},? \d{{4}}|{MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}})"
)
BIRTH_DATE = re.compile(
    r"\b(?:born|birth ?day|birth ?date|date of birth|d\.?o\.?b\.?|né le|née le|geboren|geburtsdatum|nacid[oa]|"
    r"nat[oa] il)"
    rf"(?:\s+(?:is|was|on|the|am|el|in [A-Z]\w+,?|in [A-Z]\w+ on))*\s*[:=-]?\s*(?:the )?({DATE})(?!\d)",
    re.IGNORECASE,
)


class BirthDateRecogniser:
    """Dates of birth. A date without such words says nothing about a person and is left alone."""

    types = ("birth-date",)

    def find(self, text: str) -> Iterator[Finding]:
        """Every date that is called a date of birth."""
        for match in BIRTH_DATE.finditer(text):
            yield Finding("birth-date", *match.span(1), 0.9, "date:birth")
