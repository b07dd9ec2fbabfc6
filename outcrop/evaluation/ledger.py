"""Sealed test sets: a digest fixes the rows, and an append-only ledger counts how often they were looked at.

The ledger is JSON Lines; each line holds the sha256 of the one before it, so an edited or removed look shows.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from outcrop.core.errors import DataError, UsageError
from outcrop.core.files import bare_suffix, digest, open_binary
from outcrop.core.results import JsonReady

LEDGER = "looks.jsonl"


@dataclass(frozen=True)
class Seal(JsonReady):
    """What fixes a test set: the digest of its file ("sha256:…") and its number of rows."""

    digest: str
    rows: int


def seal(path: Path, rows: int | None = None) -> Seal:
    """Seal a test set as it is now. rows: how many it has; counted for JSON Lines, to be given for other formats.

    Raises UsageError for a missing file or an unknown number of rows, DataError for an empty set.
    """
    if not path.is_file():
        raise UsageError(f"There is no test set {path}.", "Give the file that the split wrote.")
    if rows is None:
        if bare_suffix(path) != ".jsonl":
            raise UsageError(f"Rows of {path.name} cannot be counted without reading its format.", "Give rows.")
        with open_binary(path) as file:
            rows = sum(1 for line in file if line.strip())
    if rows < 1:
        raise DataError("A test set without rows cannot be sealed.", "Hold out at least one row.", str(path))
    return Seal(digest(path), rows)


def verify(path: Path, sealed: Seal) -> None:
    """Raise DataError when the file is gone or no longer what was sealed."""
    found = digest(path) if path.is_file() else "no file"
    if found != sealed.digest:
        raise DataError(
            f"The sealed test set has changed: {found}, sealed as {sealed.digest}.",
            "Restore the file, or split again: scores on other rows cannot be compared with earlier ones.",
            str(path),
        )


def look(path: Path, sealed: Seal, purpose: str, model: str, home: Path) -> int:
    """Record a look at a sealed test set, before it is opened, and return how many there have been, this one included.

    purpose: why ("evaluate", "compare"); model: what is measured; home: the folder of the ledger, made if absent.
    Nothing is recorded when the file has changed (DataError). When this returns, the look is on disk.
    """
    verify(path, sealed)
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / LEDGER) as file:
        lines = _read(file, home / LEDGER)
        count = 1 + len([line for line in lines if line["digest"] == sealed.digest])
        entry = {
            "digest": sealed.digest,
            "look": count,
            "rows": sealed.rows,
            "purpose": purpose,
            "model": model,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "previous": lines[-1]["sha256"] if lines else "",
        }
        file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
    return count


def looks(sealed_digest: str, home: Path) -> list[dict[str, Any]]:
    """Every recorded look at a test set, oldest first. Raises DataError for a ledger that was edited."""
    if not (home / LEDGER).is_file():
        return []
    with _locked(home / LEDGER) as file:
        found = _read(file, home / LEDGER)
    ours = [line for line in found if line["digest"] == sealed_digest]
    return [{name: value for name, value in line.items() if name != "sha256"} for line in ours]


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield file
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _read(file: BinaryIO, path: Path) -> list[dict[str, Any]]:
    """All entries, each with its own "sha256". Cuts off a half-written last line: its look was never granted."""
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        file.truncate(whole)
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        previous = entries[-1]["sha256"] if entries else ""
        entries.append(_parse(line, previous, f"{path}:{number}") | {"sha256": hashlib.sha256(line).hexdigest()})
    return entries


def _parse(line: bytes, previous: str, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or "digest" not in entry or entry.get("previous") != previous:
        raise DataError(
            "The ledger of looks at test sets was edited.", "Restore it from a backup, or move it away to start anew.",
            where,
        )
    return entry
