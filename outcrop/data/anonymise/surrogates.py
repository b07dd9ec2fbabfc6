"""What stands in place of a value: a placeholder with its type, or a made-up value of the same form."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import re
from collections.abc import Iterable
from typing import Protocol

from outcrop.data.anonymise.findings import TYPES, Finding

TAG_CHARS = 10
"""Characters of a keyed placeholder: 50 bits, so that a million values collide with a chance of 1 in 2,000."""

NUMBERED = re.compile(r"<([A-Z][A-Z_]*)_(\d+)>")
LABELS = {name: name.upper().replace("-", "_") for name in TYPES}
SPACED = ("email", "name", "place", "organisation", "address", "birth-date")
"""Types of which spelling with other capitals or spaces is the same value; of others only letters and digits count."""


class Surrogates(Protocol):
    """Gives the stand-ins of one record."""

    def of(self, finding: Finding, value: str) -> str:
        """The stand-in of a value; the same for the same value."""
        ...


class Placeholders:
    """Placeholders of one record; a name that is part of one seen before has that one's placeholder."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}

    def of(self, finding: Finding, value: str) -> str:
        """The placeholder of a value."""
        known = finding.type, normalised(finding.type, value)
        if known not in self._given:
            whole = self._whole_name(known[1]) if finding.type == "name" else None
            self._given[known] = whole or f"<{LABELS[finding.type]}_{self.tag(finding, value)}>"
        return self._given[known]

    def tag(self, finding: Finding, value: str) -> str:
        """What follows the type in a new placeholder."""
        raise NotImplementedError

    def _whole_name(self, part: str) -> str | None:
        wholes = {
            given
            for (kind, name), given in self._given.items()
            if kind == "name" and set(part.split()) < set(name.split())
        }
        return wholes.pop() if len(wholes) == 1 else None


class Numbered(Placeholders):
    """<EMAIL_1>: numbered in the order of the record, from one above the numbers that it holds already."""

    def __init__(self, texts: Iterable[str]) -> None:
        super().__init__()
        self._last: dict[str, int] = {}
        for text in texts:
            for label, number in NUMBERED.findall(text) if "<" in text else ():
                self._last[label] = max(self._last.get(label, 0), int(number))

    def tag(self, finding: Finding, value: str) -> str:
        """The next number of the type."""
        label = LABELS[finding.type]
        self._last[label] = self._last.get(label, 0) + 1
        return str(self._last[label])


class Keyed(Placeholders):
    """<EMAIL_k3f9a2xq7b>: the same value has the same placeholder wherever the same key is used."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key

    def tag(self, finding: Finding, value: str) -> str:
        """The beginning of the value's keyed digest, which tells nothing without the key."""
        return base64.b32encode(keyed_digest(self._key, finding.type, value)).decode().lower()[:TAG_CHARS]


def normalised(kind: str, value: str) -> str:
    """What makes two spellings the same value."""
    if kind in SPACED:
        return " ".join(value.casefold().split())
    if kind in ("secret", "url-credentials", "crypto"):
        return value
    return "".join(character for character in value.upper() if character.isalnum())


def keyed_digest(key: bytes, kind: str, value: str) -> bytes:
    """HMAC-SHA256 of a value (RFC 2104), 32 bytes."""
    return hmac.new(key, f"{kind}\0{normalised(kind, value)}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def draw(key: bytes, kind: str, value: str, attempt: int) -> random.Random:
    """A stream of random numbers that only the holder of the key can repeat."""
    seed = hmac.new(keyed_digest(key, kind, value), str(attempt).encode(), hashlib.sha256).digest()
    return random.Random(int.from_bytes(seed, "big"))
