"""Synthetic rows: how they are marked, and what each was made from. The mark stays with a row in every file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

from outcrop.data.records import Origin, Record, prompt_text
from outcrop.data.shingles import normalise

FIELD = "synthetic"
"""The column of the mark, written beside the texts of a row."""

NO = ("", "0", "false", "no", "none", "null")
"""What such a column may hold in rows that are not synthetic, in any case."""


@dataclass(frozen=True)
class Mark:
    """How a row was made, by which model, and from which row: its place, and the key of its prompt."""

    how: str
    model: str
    file: str
    line: int
    key: str

    @classmethod
    def of(cls, source: Record, how: str, model: str) -> Mark:
        """The mark of a row that is made from `source`."""
        return cls(how, model, source.origin.file, source.origin.line, f"{prompt_key(prompt_text(source)):016x}")

    def as_dict(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)


def marked(record: Record) -> bool:
    """Whether a record says that it is synthetic."""
    value = record.fields.get(FIELD)
    if value is None:
        return False
    return str(value).strip().casefold() not in NO if isinstance(value, str | int | float | None) else bool(value)


def source_of(record: Record) -> tuple[Origin | None, int | None]:
    """Where the source of a synthetic record stood, and the key of its prompt; None where its mark does not say it."""
    value = record.fields.get(FIELD)
    if not isinstance(value, Mapping):
        return None, None
    file, line, key = value.get("file"), value.get("line"), value.get("key")
    place = Origin(file, line) if isinstance(file, str) and isinstance(line, int) else None
    try:
        return place, int(str(key), 16)
    except ValueError:
        return place, None


def prompt_key(text: str) -> int:
    """A hash of 64 bits of a prompt, equal where prompts are the same after normalisation."""
    return key_of_normalised(normalise(text))


def key_of_normalised(text: str) -> int:
    """The key of a prompt that is normalised already."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
