"""Types that a pattern decides: what plain Presidio finds, Outcrop finds at the same place."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from outcrop.data.anonymise.anonymiser import Anonymiser
from outcrop.data.anonymise.checksums import iban_digits, luhn_digit
from outcrop.data.anonymise.findings import Finding, without_overlaps
from outcrop.data.anonymise.spec import AnonymiseSpec

TYPES = {
    "EMAIL_ADDRESS": "email", "CREDIT_CARD": "card", "IBAN_CODE": "iban", "IP_ADDRESS": "ip", "MAC_ADDRESS": "mac",
    "CRYPTO": "crypto",
}  # fmt: skip
FRAMES = (
    "Please check {} before Friday.", "My card {} was charged twice, help!", "{}",
    "Logs: from {} at 10:31, then it failed", "Hello,\nI wrote from {}, and nobody answered.\nRegards", "ref: {} ok",
    "({})", "Is it {}?",
)  # fmt: skip
OTHERS = (
    "Order 48593021, tracking 1Z999AA10123456784", "call 555 0199 at 5 pm", "see section 4.2.1.7 of v2",
    "SELECT * FROM t WHERE id = 4111111111111112", "my IBAN is GB00 WEST 1234 5698 7654 32", "a@b and @handle",
)  # fmt: skip


def _digits(draw: random.Random, count: int) -> str:
    return "".join(str(draw.randrange(10)) for _ in range(count))


def _card(draw: random.Random) -> str:
    start, length = draw.choice((("4", 16), ("51", 16), ("34", 15), ("37", 15), ("6011", 16), ("4", 13)))
    number = start + _digits(draw, length - len(start) - 1)
    number += luhn_digit(number)
    return number if length != 16 else draw.choice(("", " ", "-")).join(number[at : at + 4] for at in range(0, 16, 4))


def _iban(draw: random.Random) -> str:
    country, account = draw.choice(
        (("DE", _digits(draw, 18)), ("GB", "WEST" + _digits(draw, 14)), ("NO", _digits(draw, 11)))
    )
    whole = country + iban_digits(country, account) + account
    return whole if draw.random() < 0.5 else " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))


def _email(draw: random.Random) -> str:
    name, host = draw.choice(("eva", "j.smith", "a_b-c", "x+shop")), draw.choice(("mail", "my-corp", "a.b"))
    return f"{name}@{host}.{draw.choice(('com', 'de', 'co.uk'))}"


def _ip(draw: random.Random) -> str:
    if draw.random() < 0.7:
        return ".".join(str(draw.randrange(1, 255)) for _ in range(4))
    return ":".join(f"{draw.randrange(4096, 65536):x}" for _ in range(8))


def _mac(draw: random.Random) -> str:
    return draw.choice(":-").join(f"{draw.randrange(256):02X}" for _ in range(6))


MAKERS: tuple[Callable[[random.Random], str], ...] = (_card, _iban, _email, _ip, _mac)
CRYPTO = ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")


@pytest.mark.slow
def test_the_same_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("benchmarks/anonymise")
    from plain_presidio import PlainPresidio  # type: ignore[import-not-found]

    draw = random.Random(0)
    values = [make(draw) for make in MAKERS for _ in range(24)] + list(CRYPTO)
    texts = [draw.choice(FRAMES).format(value) for value in values] + list(OTHERS)
    theirs, ours = PlainPresidio(), Anonymiser(AnonymiseSpec(types=tuple(TYPES.values())))
    for text in texts:
        expected = without_overlaps(each for each in theirs.find(text) if each.type in TYPES.values())
        assert _values(text, ours.find(text)) == _values(text, expected), text


def _values(text: str, findings: list[Finding]) -> list[tuple[str, str]]:
    return [(each.type, text[each.start : each.end]) for each in findings]
