"""Check digits of payment cards and bank accounts: verified, and computed for made-up ones."""

from __future__ import annotations

import re

CARD_ISSUER = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(?:011|5\d\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|"
    r"35\d{14}"
    r"|(?:2131|1800)\d{11}"
)
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21, "CY": 28,
    "CZ": 24, "DE": 22, "DK": 18, "EE": 20, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MT": 31, "MU": 30,
    "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29, "VG": 24, "XK": 20,
}  # fmt: skip
"""Characters of an account number, by country (SWIFT IBAN registry)."""


def luhn_digit(digits: str) -> str:
    """The check digit to append to `digits` (Luhn, ISO/IEC 7812-1 annex B)."""
    doubled = [int(digit) * (1 if index % 2 else 2) for index, digit in enumerate(reversed(digits))]
    return str(-sum(value - 9 if value > 9 else value for value in doubled) % 10)


def is_luhn(digits: str) -> bool:
    """Whether the last of the digits is the check digit of the others."""
    return luhn_digit(digits[:-1]) == digits[-1]


def is_card(text: str) -> bool:
    """Whether the digits, apart from spaces and hyphens, have a known issuer's form and a right check digit."""
    digits = text.replace(" ", "").replace("-", "")
    return CARD_ISSUER.fullmatch(digits) is not None and is_luhn(digits)


def iban_digits(country: str, account: str) -> str:
    """The two check digits of an account number in a country (ISO 13616, ISO 7064 mod 97-10)."""
    return f"{98 - _remainder(account + country + '00'):02d}"


def is_iban(account: str) -> bool:
    """Whether an account number without spaces has its country's length and right check digits."""
    if len(account) != IBAN_LENGTHS.get(account[:2]):
        return False
    return _remainder(account[4:] + account[:4]) == 1


def _remainder(account: str) -> int:
    return int("".join(str(int(character, 36)) for character in account)) % 97
