"""The write-ahead log of an SQLite file: readers and one writer at once."""

from __future__ import annotations

import sqlite3
import time

ASK_AGAIN_S = 0.005


def write_ahead(connection: sqlite3.Connection, wait_s: float) -> None:
    """Switch a file to its write-ahead log; wait_s: patience with others who are at it, whom SQLite does not wait for.

    Raises sqlite3.Error.
    """
    give_up = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(ASK_AGAIN_S)
