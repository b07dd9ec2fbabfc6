"""Made-up values of the same form: a card number with its check digit, a phone number of the same country, a name."""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from outcrop.data.anonymise.checksums import iban_digits, luhn_digit
from outcrop.data.anonymise.findings import Finding
from outcrop.data.anonymise.gazetteer import COUNTRY, FEMALE, FIRST, MALE, STATE, fold, words
from outcrop.data.anonymise.lexicon import lexicon
from outcrop.data.anonymise.runs import PARTICLES
from outcrop.data.anonymise.surrogates import draw, normalised

ATTEMPTS = 100
WORD = re.compile(r"[^\W\d_]+")
DIGIT = re.compile(r"\d")
MONTHS = (lexicon("months"), lexicon("short_months"))
ISSUER_DIGITS, COUNTRY_DIGITS = 4, 3
KEPT_OF_SECRET = 4
"""Characters of a secret that tell whose it is ("ghp_", "AKIA") and are kept."""


class Fakes:
    """The same value gets the same made-up one, under the same key; never the value itself."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, finding: Finding, value: str) -> str:
        """A made-up value of the same type and form."""
        made = ""
        for attempt in range(ATTEMPTS):
            made = MAKERS[finding.type](value, draw(self._key, finding.type, value, attempt), finding, self._key)
            if normalised(finding.type, made) != normalised(finding.type, value) and _accepted(finding, made):
                return made
        return made


def _accepted(finding: Finding, made: str) -> bool:
    if finding.type != "phone":
        return True
    region = finding.recogniser.partition(":")[2].upper()
    return len(region) != 2 or _phones()(made, region)


@lru_cache(maxsize=1)
def _phones() -> Callable[[str, str], bool]:
    import phonenumbers

    def valid(number: str, region: str) -> bool:
        try:
            return bool(phonenumbers.is_valid_number_for_region(phonenumbers.parse(number, region), region))
        except phonenumbers.NumberParseException:
            return False

    return valid


@lru_cache(maxsize=1)
def _faker() -> Any:
    import faker

    return faker.Faker("en_US")


def _seeded(numbers: random.Random) -> Any:
    made = _faker()
    made.seed_instance(numbers.getrandbits(64))
    return made


def scrambled(value: str, numbers: random.Random, keep: int = 0) -> str:
    """Every digit another digit, every letter another letter of its case; the first `keep` characters stay."""
    changed = list(value[:keep])
    for character in value[keep:]:
        if character.isdigit():
            changed.append(str(numbers.randrange(10)))
        elif character.isalpha():
            letter = chr(ord("a") + numbers.randrange(26))
            changed.append(letter.upper() if character.isupper() else letter)
        else:
            changed.append(character)
    return "".join(changed)


def _email(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    made = _seeded(numbers)
    domain = numbers.choice(("example.com", "example.org", "example.net"))
    return f"{made.first_name().lower()}.{made.last_name().lower()}{numbers.randrange(10, 1000)}@{domain}"


def _phone(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    """The same layout and country; other digits after the country code, or after the first digits without one."""
    total = len(DIGIT.findall(value))
    keep = min(COUNTRY_DIGITS, total - 4) if value.startswith(("+", "(+", "00", "011")) else 1
    seen = -1

    def digit(match: re.Match[str]) -> str:
        nonlocal seen
        seen += 1
        return match.group() if seen < keep else str(numbers.randrange(10))

    return DIGIT.sub(digit, value)


def _card(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    digits = "".join(DIGIT.findall(value))
    middle = "".join(str(numbers.randrange(10)) for _ in digits[ISSUER_DIGITS:-1])
    made = digits[:ISSUER_DIGITS] + middle
    return _in_layout(value, made + luhn_digit(made))


def _iban(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    plain = "".join(value.split())
    account = scrambled(plain[4:], numbers)
    return _in_layout(value, plain[:2] + iban_digits(plain[:2], account) + account)


def _in_layout(value: str, characters: str) -> str:
    """Characters written with the spaces and hyphens of a value."""
    left = iter(characters)
    return "".join(next(left) if character.isalnum() else character for character in value)


def _ip(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    """A private address stays private; others become addresses for documentation (RFC 5737, RFC 3849)."""
    address = ipaddress.ip_address(value)
    if address.version == 6:
        return str(ipaddress.IPv6Address((0x20010DB8 << 96) | numbers.getrandbits(64)))
    first = value.split(".")
    if address.is_private:
        kept = 1 if first[0] == "10" else 2
        return ".".join(first[:kept] + [str(numbers.randrange(1, 255)) for _ in range(4 - kept)])
    return f"{numbers.choice(('192.0.2', '198.51.100', '203.0.113'))}.{numbers.randrange(1, 255)}"


def _mac(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    """A locally administered address, which no maker gives out (IEEE 802, bit 1 of the first octet)."""
    made = f"02{numbers.getrandbits(40):010x}"
    return _in_layout(value, made.upper() if value.upper() == value else made)


def _credentials(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    return f"{_seeded(numbers).user_name()}:{scrambled('Aaaa00aaaa', numbers)}"


def _secret(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    if not value.startswith("-----BEGIN"):
        return scrambled(value, numbers, keep=min(KEPT_OF_SECRET, len(value) // 4))
    lines = value.split("\n")
    return "\n".join(line if line.startswith("-----") else scrambled(line, numbers) for line in lines)


def _national(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    return scrambled(value, numbers)


def _crypto(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    """The same length and alphabet; the checksum is wrong on purpose, so that no money can be sent there."""
    kept = 2 if value.lower().startswith("0x") else 3 if value.lower().startswith("bc1") else 1
    return value[:kept] + "".join(numbers.choice(value[kept:]) for _ in value[kept:])


def _name(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    """Word by word, so that a first name alone becomes the same as within a full name; gender as far as it is known."""
    return WORD.sub(lambda match: _name_word(match.group(), key), value)


def _name_word(word: str, key: bytes) -> str:
    if len(word) == 1:
        return draw(key, "initial", word, 0).choice("ABCDEFGHJKLMNPRSTW")
    if word in PARTICLES:
        return word
    for attempt in range(ATTEMPTS):
        flags = words().get(fold(word), "")
        made = _seeded(draw(key, "name", word, attempt))
        if FEMALE in flags and MALE not in flags:
            fake = made.first_name_female()
        elif MALE in flags and FEMALE not in flags:
            fake = made.first_name_male()
        else:
            fake = made.first_name() if any(flag in flags for flag in FEMALE + MALE + FIRST) else made.last_name()
        if fold(fake) != fold(word):
            break
    return str(_in_case(word, fake))


def _in_case(word: str, fake: str) -> str:
    return fake.upper() if word.isupper() else fake.lower() if word.islower() else fake


def _place(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    made = _seeded(numbers)
    flags = words().get(" ".join(map(fold, value.split())), "")
    if COUNTRY in flags:
        fake = str(made.country()).partition(" (")[0]
    else:
        fake = str(made.state() if STATE in flags else made.city())
    return _in_case(value, fake)


def _organisation(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    return str(_seeded(numbers).company())


def _address(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    """As many lines as the value has; a postcode alone stays one."""
    made = _seeded(numbers)
    if not any(len(word) > 2 for word in WORD.findall(value)):
        return scrambled(value, numbers)
    street = str(made.street_address())
    if not re.search(r"[,\n]", value):
        return street
    joint = "\n" if "\n" in value else ", "
    return f"{street}{joint}{made.city()}, {made.state_abbr()} {made.postcode()}"


def _birth_date(value: str, numbers: random.Random, finding: Finding, key: bytes) -> str:
    """The same way of writing; a year near by, and a day and a month up to 12, whichever stands first."""

    def number(match: re.Match[str]) -> str:
        digits = match.group()
        if len(digits) == 4:
            return str(int(digits) + numbers.choice((-3, -2, -1, 1, 2, 3)))
        return str(numbers.randrange(1, 10 if len(digits) == 1 else 13)).zfill(len(digits))

    def month(match: re.Match[str]) -> str:
        for names in MONTHS:
            if match.group().title() in names:
                return _in_case(match.group(), numbers.choice(names))
        return match.group()

    return WORD.sub(month, re.sub(r"\d+", number, value))


MAKERS: dict[str, Callable[[str, random.Random, Finding, bytes], str]] = {
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "national-id": _national,
    "ip": _ip,
    "mac": _mac,
    "url-credentials": _credentials,
    "crypto": _crypto,
    "secret": _secret,
    "birth-date": _birth_date,
    "address": _address,
    "name": _name,
    "place": _place,
    "organisation": _organisation,
}
"""Type → value, random numbers, finding, key → made-up value."""
