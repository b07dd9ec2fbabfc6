"""Digests of large files, remembered as long as a file is the same: reading gigabytes again would take seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from outcrop.core.errors import StoreUnavailable
from outcrop.core.files import digest
from outcrop.core.settings import home
from outcrop.store.local_tables import LocalTables

SCHEMA = """
CREATE TABLE IF NOT EXISTS digests (
    path TEXT PRIMARY KEY, device INTEGER NOT NULL, inode INTEGER NOT NULL, bytes INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL, changed_ns INTEGER NOT NULL, digest TEXT NOT NULL
)
"""
VERSION = 1
REMEDY = "It only saves time: delete it."
FILE = "digests.sqlite"
"""In OUTCROP_HOME."""
LEAST_BYTES = 1 << 20
SETTLED_S = 2.0
"""A file changed later than this may change again without another time: clocks of file systems are coarse."""
MOST_FILES = 10_000
WAIT_S = 1.0


class FileState(NamedTuple):
    """What the system changes with every change of a file. changed_ns: its own time, which no program can set back."""

    device: int
    inode: int
    bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """As it is now."""
        found = path.stat()
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def remembered_digest(path: Path, *, clock: Callable[[], float] = time.time) -> str:
    """As core.files.digest; of a large file that has not changed since, as it was found before.

    Where nothing can be remembered, the file is read.
    """
    state = FileState.of(path)
    if state.bytes < LEAST_BYTES:
        return digest(path)
    try:
        with _Digests(home() / FILE) as known:
            return known.find(path.resolve(), state) or known.keep(path.resolve(), state, clock())
    except StoreUnavailable:
        return digest(path)


class _Digests(LocalTables):
    """The file of digests."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA, version=VERSION, remedy=REMEDY, wait_s=WAIT_S)

    def find(self, path: Path, state: FileState) -> str | None:
        """The digest of a file in that state."""
        query = """SELECT digest FROM digests WHERE path = ? AND device = ? AND inode = ? AND bytes = ?
            AND modified_ns = ? AND changed_ns = ?"""
        with self.reading() as connection:
            found = connection.execute(query, (str(path), *state)).fetchone()
        return None if found is None else str(found[0])

    def keep(self, path: Path, state: FileState, now: float) -> str:
        """Read a file; keep its digest if nobody changed it lately. Beyond the most files the oldest are dropped."""
        found = digest(path)
        if FileState.of(path) == state and now - max(state.modified_ns, state.changed_ns) / 1e9 > SETTLED_S:
            drop = "DELETE FROM digests WHERE rowid <= (SELECT max(rowid) FROM digests) - ?"
            with self.transaction() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?, ?)", (str(path), *state, found)
                )
                connection.execute(drop, (MOST_FILES,))
        return found
