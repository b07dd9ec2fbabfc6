"""The cache of predictions: answers by the digest of all that decides them, up to a size, the least used dropped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from outcrop.store.local_tables import LocalTables

SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (key BLOB PRIMARY KEY, answer TEXT NOT NULL, used_day INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS ix_predictions_used_day ON predictions (used_day)
"""
VERSION = 1
REMEDY = "It is a cache: delete it, or name another one with --cache."
MOST_BYTES = 4 << 30
ASKED_AT_ONCE = 500
DAY_S = 86_400


class PredictionStore(LocalTables):
    """Answers, as JSON texts, by 32-byte digests."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = time.time) -> None:
        """Open or make the cache. Raises StoreUnavailable."""
        self._most_bytes, self._clock = most_bytes, clock
        super().__init__(path, SCHEMA, version=VERSION, remedy=REMEDY)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """The answers that are known. The day of use is noted, so that the least used can be told."""
        found: dict[bytes, str] = {}
        today, old = int(self._clock()) // DAY_S, list[tuple[int, bytes]]()
        for start in range(0, len(keys), ASKED_AT_ONCE):
            part = keys[start : start + ASKED_AT_ONCE]
            marks = ", ".join("?" * len(part))
            query = f"SELECT key, answer, used_day FROM predictions WHERE key IN ({marks})"
            with self.reading() as connection:
                rows = connection.execute(query, part).fetchall()
            found |= {key: answer for key, answer, _ in rows}
            old += [(today, key) for key, _, day in rows if day != today]
        if old:
            with self.transaction() as connection:
                connection.executemany("UPDATE predictions SET used_day = ? WHERE key = ?", old)
        return found

    def keep(self, answers: Mapping[bytes, str] | Iterable[tuple[bytes, str]]) -> None:
        """Add answers; one that is known stays as it is. Beyond the size the least lately used are dropped."""
        pairs = answers.items() if isinstance(answers, Mapping) else answers
        today = int(self._clock()) // DAY_S
        with self.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO predictions VALUES (?, ?, ?)", ((key, text, today) for key, text in pairs)
            )
        self._prune()

    def count(self) -> int:
        """How many answers are kept."""
        with self.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM predictions").fetchone()[0])

    def _prune(self) -> None:
        """Drop a tenth at a time; the file keeps its size, and the room in it is used again."""
        while self._bytes() > self._most_bytes and (count := self.count()):
            drop = "DELETE FROM predictions WHERE key IN (SELECT key FROM predictions ORDER BY used_day LIMIT ?)"
            with self.transaction() as connection:
                connection.execute(drop, (max(1, count // 10),))

    def _bytes(self) -> int:
        with self.reading() as connection:
            size, pages, free = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_size", "page_count", "freelist_count")
            )
        return int(size * (pages - free))
