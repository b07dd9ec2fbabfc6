"""The vault: every replaced value with its place, in a file that only its owner can read, and the way back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from outcrop.core.errors import DataError
from outcrop.data.anonymise.anonymiser import Replacement
from outcrop.data.anonymise.record_texts import texts, with_texts
from outcrop.data.records import Record

MODE = 0o600
"""Only its owner may read a vault."""

FIELDS = ("type", "field", "start", "end", "original", "surrogate")


def write_entries(vault: TextIO, row: int, replacements: Iterable[Replacement]) -> None:
    """Add the replacements of a record. row: its number in the written data, from 1."""
    vault.writelines(json.dumps({"row": row, **made._asdict()}, ensure_ascii=False) + "\n" for made in replacements)


def restored(records: Iterable[Record], vault: Path) -> Iterator[Record]:
    """The records as they were before, in the order in which they were written.

    Raises DataError at the first place where a record does not hold what the vault says.
    """
    with vault.open(encoding="utf-8") as lines:
        entries = groupby(_entries(lines, vault), key=lambda entry: int(entry["row"]))
        row, here = next(entries, (0, iter(())))
        for number, record in enumerate(records, start=1):
            if number != row:
                yield record
                continue
            yield _restored(record, [Replacement(*(entry[name] for name in FIELDS)) for entry in here])
            row, here = next(entries, (0, iter(())))
        if row:
            raise DataError(
                f"{vault} speaks of row {row:,}, which the data does not have.", "Give the file it belongs to."
            )


def _entries(lines: Iterable[str], vault: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            missing = [name for name in ("row", *FIELDS) if name not in entry]
        except (ValueError, TypeError):
            missing = ["row"]
        if missing:
            raise DataError("Not an entry of a vault.", "Give the file that --vault wrote.", f"{vault}:{number}")
        yield entry


def _restored(record: Record, replacements: Sequence[Replacement]) -> Record:
    given = {part.field: part.text for part in texts(record)}
    for made in sorted(replacements, key=lambda each: -each.start):
        text = given.get(made.field, "")
        if text[made.start : made.end] != made.surrogate:
            raise DataError(
                f"{made.field} does not hold {made.surrogate} at character {made.start + 1}.",
                "Give the data as it was written together with this vault.",
                str(record.origin),
            )
        given[made.field] = text[: made.start] + made.original + text[made.end :]
    return with_texts(record, list(given.values()))
