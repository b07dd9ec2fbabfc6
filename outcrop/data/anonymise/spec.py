"""What to look for in records, and what to do with it."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from outcrop.core.errors import did_you_mean
from outcrop.core.spec import Spec, parameter
from outcrop.data.anonymise.findings import TYPES, UNASKED

Mode = Literal["report", "mask", "replace", "drop"]

USUAL_TYPES = tuple(name for name in TYPES if name not in UNASKED)
REGIONS = ("US", "GB", "CA", "AU", "NZ", "IE", "DE", "AT", "CH", "FR", "ES", "IT", "NL", "BE", "DK", "SE", "NO", "FI",
           "PL", "CZ", "PT", "IN", "IL", "BR", "ZA", "SG")  # fmt: skip


class AnonymiseSpec(Spec):
    """What counts as personal data, and what happens to it."""

    mode: Mode = parameter("mask", "report: change nothing; mask: <EMAIL_1>; replace: realistic fakes; drop: the row")
    types: tuple[str, ...] = parameter(USUAL_TYPES, "types to look for")
    min_score: float = parameter(0.5, "least sureness of a finding that counts", ge=0, le=1)
    regions: tuple[str, ...] = parameter(REGIONS, "countries whose phone numbers are known without +")
    keep: tuple[str, ...] = parameter((), "values that are never changed, such as one's own support address")
    key_file: str = parameter("", "file with a secret of 16 bytes or more: the same value gets the same surrogate")

    @field_validator("types")
    @classmethod
    def _known_types(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in TYPES:
                raise ValueError(f"unknown type {name}. {did_you_mean(name, TYPES)}")
        if not names:
            raise ValueError(f"no type is named. Allowed: {', '.join(TYPES)}")
        return names
