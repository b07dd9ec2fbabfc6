"""Published answers: a table in a file, found by an exact or by a normalised key, with a counter of its hits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from outcrop.core.errors import UsageError
from outcrop.core.settings import home
from outcrop.store.local_tables import LocalTables

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    exact BLOB PRIMARY KEY, normalised BLOB NOT NULL, answer TEXT NOT NULL,
    exact_hits INTEGER NOT NULL DEFAULT 0, normalised_hits INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS ix_entries_normalised ON entries (normalised)
"""
VERSION = 1
REMEDY = "Publish the table again, or delete the file."
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
SUFFIX = ".sqlite"
PUBLISHED = "published"
"""The folder of tables in OUTCROP_HOME."""


class LookupEntry(NamedTuple):
    """An answer, as a JSON text, and its keys."""

    exact: bytes
    normalised: bytes
    answer: str


@dataclass(frozen=True)
class LookupSummary:
    """A table, as lists show it. ambiguous: entries with another answer under the same normalised key."""

    name: str
    model: str
    answers: int
    ambiguous: int
    exact_hits: int
    normalised_hits: int


class LookupTable(LocalTables):
    """One published table. Publishing it again replaces it at once, for those who read it, too."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises StoreUnavailable."""
        super().__init__(path, SCHEMA, version=VERSION, remedy=REMEDY)
        self.name = path.name.removesuffix(SUFFIX)

    def publish(self, model: str, entries: Iterable[LookupEntry]) -> LookupSummary:
        """Replace all entries. model: the name of the model that answered."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM entries")
            connection.execute("INSERT OR REPLACE INTO facts VALUES ('model', ?)", (model,))
            connection.executemany(
                "INSERT OR IGNORE INTO entries (exact, normalised, answer) VALUES (?, ?, ?)", entries
            )
        return self.summary()

    def find_exact(self, key: bytes) -> str | None:
        """The answer under an exact key. A hit is counted."""
        with self.reading() as connection:
            found = connection.execute("SELECT answer FROM entries WHERE exact = ?", (key,)).fetchone()
        return None if found is None else self._counted(found[0], key, "exact_hits")

    def find_normalised(self, key: bytes) -> str | None:
        """The answer under a normalised key, if there is only one. A hit is counted."""
        with self.reading() as connection:
            found = connection.execute("SELECT exact, answer FROM entries WHERE normalised = ?", (key,)).fetchall()
        if len({answer for _, answer in found}) != 1:
            return None
        return self._counted(found[0][1], found[0][0], "normalised_hits")

    def summary(self) -> LookupSummary:
        """What is in it, and how often it was of use."""
        query = "SELECT count(*), coalesce(sum(exact_hits), 0), coalesce(sum(normalised_hits), 0) FROM entries"
        doubtful = """SELECT coalesce(sum(n), 0) FROM
            (SELECT count(*) AS n FROM entries GROUP BY normalised HAVING count(DISTINCT answer) > 1)"""
        with self.reading() as connection:
            answers, exact, normalised = connection.execute(query).fetchone()
            [ambiguous] = connection.execute(doubtful).fetchone()
            model = connection.execute("SELECT value FROM facts WHERE name = 'model'").fetchone()
        return LookupSummary(self.name, model[0] if model else "", answers, ambiguous, exact, normalised)

    def _counted(self, answer: str, key: bytes, column: str) -> str:
        with self.transaction() as connection:
            connection.execute(f"UPDATE entries SET {column} = {column} + 1 WHERE exact = ?", (key,))
        return answer


def published_folder() -> Path:
    """Where the tables are, unless somebody says otherwise."""
    return home() / PUBLISHED


def table_path(folder: Path, name: str) -> Path:
    """The file of a table. Raises UsageError for a name that is not plain."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of published answers.", "Allowed: letters, digits, - _ and dots."
        )
    return folder / f"{name}{SUFFIX}"


def tables(folder: Path) -> list[LookupTable]:
    """All tables of a folder, by name, opened."""
    return [LookupTable(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]
