"""Personal data and secrets, found by pattern and checksum. Names and addresses are not found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

EMAIL = re.compile(r"(?<![\w.+-])[\w.%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
PHONE = re.compile(
    r"(?<![\w.+-])(?:"
    r"(?:\+?1[-. ]?)?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}"
    r"|\+[2-9]\d{0,2}(?:[-. ]?\(?\d\)?){7,12}"
    r")(?![\w-])"
)
CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)")
CARD_ISSUER = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(?:011|5\d\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}"
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?= ?[A-Z0-9]{4})")
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21, "CY": 28,
    "CZ": 24, "DE": 22, "DK": 18, "EE": 20, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MT": 31, "MU": 30,
    "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29, "VG": 24, "XK": 20,
}  # fmt: skip
"""Characters of an account number, by country (SWIFT IBAN registry)."""

AWS_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b(?<!EXAMPLE)")
PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY-----")
JWT = re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")


class Finding(NamedTuple):
    """A piece of personal data or a secret: a code of DEFECTS and the place in the text."""

    code: str
    start: int
    end: int


def find(text: str) -> Iterator[Finding]:
    """Every e-mail address, phone, card and account number, AWS key, private key and JWT in the text."""
    for code, mark, pattern in PATTERNS:
        if mark in text:
            yield from (Finding(code, *match.span()) for match in pattern.finditer(text))
    if not DIGITS.search(text):
        return
    cards = [match.span() for match in CARD.finditer(text) if is_card(match.group())]
    yield from (Finding("pii-card", *span) for span in cards)
    for match in PHONE.finditer(text):
        if not any(start <= match.start() < end for start, end in cards):
            yield Finding("pii-phone", *match.span())
    yield from _ibans(text)


PATTERNS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("pii-email", "@", EMAIL),
    ("secret-aws-key", "A", AWS_KEY),
    ("secret-private-key", "PRIVATE KEY", PRIVATE_KEY),
    ("secret-jwt", "eyJ", JWT),
)
"""Code, what must occur for the pattern to be tried at all, pattern."""

DIGITS = re.compile(r"\d{2}")


def is_card(text: str) -> bool:
    """Whether the digits have a known issuer's form and a right check digit (Luhn, ISO/IEC 7812-1)."""
    digits = text.replace(" ", "").replace("-", "")
    if CARD_ISSUER.fullmatch(digits) is None:
        return False
    doubled = [int(digit) * (2 if index % 2 else 1) for index, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_iban(account: str) -> bool:
    """Whether an account number without spaces has its country's length and the checksum of ISO 7064 mod 97-10."""
    if len(account) != IBAN_LENGTHS.get(account[:2]):
        return False
    return int("".join(str(int(character, 36)) for character in account[4:] + account[:4])) % 97 == 1


def _ibans(text: str) -> Iterator[Finding]:
    for match in IBAN.finditer(text):
        length = IBAN_LENGTHS.get(match.group()[:2], 0)
        end = match.start()
        account = ""
        while len(account) < length and end < len(text) and (text[end].isalnum() or text[end] == " "):
            account += text[end].strip()
            end += 1
        follows = text[end : end + 1].isalnum()
        if account.isascii() and account.isupper() and not follows and is_iban(account):
            yield Finding("pii-iban", match.start(), end)
