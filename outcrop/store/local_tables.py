"""SQLite files beside the database of jobs: one schema each, readable by their owner alone, whole after kill -9."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from outcrop.core.errors import StoreUnavailable
from outcrop.store.write_ahead import write_ahead

WAIT_S = 30.0
"""How long a lock of another process is waited for."""


class LocalTables:
    """Tables in one file, for any number of threads. remedy: what to do with a file that cannot be used."""

    def __init__(self, path: Path, schema: str, *, version: int, remedy: str, wait_s: float = WAIT_S) -> None:
        """Open or make the file. Raises StoreUnavailable where it is no such file, or of another version."""
        self.path, self._remedy, self._lock = path, remedy, threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreUnavailable(f"The file cannot be opened: {error.strerror}.", remedy, str(path)) from None
        self._connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
        self._close = weakref.finalize(self, self._connection.close)
        try:
            self._set_up(schema, version, wait_s)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written in the block, or nothing of it. Raises StoreUnavailable."""
        with self._lock, self._our_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """For single queries, which wait for no writer. Raises StoreUnavailable."""
        with self._lock, self._our_errors():
            yield self._connection

    def _set_up(self, schema: str, version: int, wait_s: float) -> None:
        with self._our_errors():
            write_ahead(self._connection, wait_s)
            self._connection.execute("PRAGMA synchronous=NORMAL")
            if self._connection.execute("PRAGMA user_version").fetchone()[0] == version:
                return
        with self.transaction() as connection:
            [found] = connection.execute("PRAGMA user_version").fetchone()
            if found not in (0, version):
                message = f"The file is of version {found}, not {version}."
                raise StoreUnavailable(message, self._remedy, str(self.path))
            for statement in filter(str.strip, schema.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={version}")

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable(f"SQLite says: {error}.", self._remedy, str(self.path)) from error
