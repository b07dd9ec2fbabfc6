"""What teachers said, kept for good under the digest of what they were asked: no teacher is asked, or paid, twice.

One SQLite file for all jobs, students and epochs of this user; entries never change. Several processes may share it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outcrop.core.errors import StoreUnavailable
from outcrop.store.write_ahead import write_ahead

WAIT_S = 60.0
ASKED_AT_ONCE = 500
TABLE = """
create table if not exists entries (
    key text primary key, kind text not null, teacher text not null, created_s real not null, content blob not null
) without rowid
"""


@dataclass(frozen=True)
class Holding:
    """How much is kept of one kind of one teacher."""

    teacher: str
    kind: str
    entries: int
    content_bytes: int


def key_of(**asked: Any) -> str:
    """The key of what a teacher was asked: a digest of all that its answer depends on, whatever the order of names."""
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class TeacherCache:
    """The entries in one file. Every method is one transaction: an entry is there, whole and durable, or not."""

    def __init__(self, path: Path) -> None:
        """Raises StoreUnavailable where the file cannot be opened."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            write_ahead(connection, WAIT_S)
            connection.execute(TABLE)

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The entries that are there, by key."""
        found: dict[str, bytes] = {}
        with self._connection() as connection:
            for start in range(0, len(keys), ASKED_AT_ONCE):
                part = keys[start : start + ASKED_AT_ONCE]
                marks = ",".join("?" * len(part))
                found.update(connection.execute(f"select key, content from entries where key in ({marks})", part))
        return found

    def put(self, entries: Mapping[str, bytes], *, kind: str, teacher: str) -> None:
        """Keep entries; one that is there already stays as it is."""
        now = time.time()
        rows = [(key, kind, teacher, now, content) for key, content in entries.items()]
        with self._connection() as connection, connection:
            connection.executemany("insert or ignore into entries values (?, ?, ?, ?, ?)", rows)

    def holdings(self) -> list[Holding]:
        """What is kept, by teacher and kind."""
        question = "select teacher, kind, count(*), sum(length(content)) from entries group by 1, 2 order by 1, 2"
        with self._connection() as connection:
            return [Holding(*row) for row in connection.execute(question)]

    def forget(self, teacher: str) -> int:
        """Remove what one teacher said; returns how many entries that were."""
        with self._connection() as connection, connection:
            return connection.execute("delete from entries where teacher = ?", (teacher,)).rowcount

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of this call's own, so that threads and processes never share one."""
        try:
            with closing(sqlite3.connect(self.path, timeout=WAIT_S)) as connection:
                connection.execute("pragma synchronous = full")
                yield connection
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"The cache of teachers' answers cannot be used: {error}.",
                "Check the file and the disk.",
                str(self.path),
            ) from error
