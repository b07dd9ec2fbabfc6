"""What can be found, what a finding is, and which of several overlapping findings counts."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable
from typing import NamedTuple, Protocol

TYPES: dict[str, str] = {
    "email": "an e-mail address",
    "phone": "a phone number",
    "card": "a payment card number",
    "iban": "a bank account number (IBAN)",
    "national-id": "a number that a state gives: social security, tax, passport, licence",
    "ip": "an IP address",
    "mac": "a hardware address (MAC)",
    "url-credentials": "a user name and a password in a URL",
    "crypto": "an address of a crypto currency",
    "secret": "a key, token or password of a service",
    "birth-date": "a date of birth",
    "address": "a postal address",
    "name": "the name of a person",
    "place": "a town, a state or a country",
    "organisation": "an organisation, found only by its form or by a model",
}
"""Every type of finding, and what it means."""

UNASKED = ("organisation",)
"""Types that are looked for only where they are named."""

PLACEHOLDER = re.compile(
    r"<[A-Z][A-Z_-]{1,30}(?:_[0-9a-z]{1,16})?>"
    r"|\[[A-Z][A-Z _-]{1,30}(?:[ _-]?\d{1,6})?\]"
    r"|\{\{ ?[\w .-]{1,40} ?\}\}|\{[a-z_][\w.]{0,39}\}|\$\{\w{1,40}\}|<<[\w .-]{1,40}>>"
)
"""What stands for a value already: <EMAIL_1>, [NAME], {{name}}, {name}, ${NAME}."""


class Finding(NamedTuple):
    """A value and where it stands: text[start:end] of the record's `field` ("prompt", "user turn 2").

    score: 0 to 1; recogniser: which rule found it, as "family:rule".
    """

    type: str
    start: int
    end: int
    score: float
    recogniser: str
    field: str = ""


class Recogniser(Protocol):
    """Finds some types in one text; picklable, or made anew in each process."""

    types: tuple[str, ...]

    def find(self, text: str) -> Iterable[Finding]:
        """Every value, in any order, overlaps allowed; `field` stays empty."""
        ...


WHOLE = {"address": 0.2}
"""What is added to the score of a type that has others as its parts: a town or a name inside of an address."""


def without_overlaps(findings: Iterable[Finding]) -> list[Finding]:
    """The findings in the order of the text, of overlapping ones the surer, then the longer, then the first."""

    def rank(found: Finding) -> tuple[float, int, int, str]:
        return -found.score - WHOLE.get(found.type, 0), found.start - found.end, found.start, found.type

    starts: list[int] = []
    kept: list[Finding] = []
    for finding in sorted(findings, key=rank):
        place = bisect(starts, finding.start)
        free_before = place == 0 or kept[place - 1].end <= finding.start
        if free_before and (place == len(kept) or finding.end <= kept[place].start):
            starts.insert(place, finding.start)
            kept.insert(place, finding)
    return kept


def placeholders(text: str) -> list[tuple[int, int]]:
    """The spans that stand for values already."""
    if not any(mark in text for mark in "<[{"):
        return []
    return [match.span() for match in PLACEHOLDER.finditer(text)]
