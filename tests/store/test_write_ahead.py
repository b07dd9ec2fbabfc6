"""The switch to the write-ahead log, which SQLite refuses at once while another connection is at it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from outcrop.store.database import Database
from outcrop.store.predictions import PredictionStore
from outcrop.store.teacher_cache import TeacherCache
from outcrop.store.write_ahead import write_ahead


@pytest.fixture
def held(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes to the file `held`, which has no write-ahead log yet."""
    with closing(sqlite3.connect(tmp_path / "held", isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("CREATE TABLE anything (key TEXT)")
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def test_others_are_waited_for(tmp_path: Path, held: sqlite3.Connection) -> None:
    release = threading.Timer(0.2, held.execute, ["COMMIT"])
    release.start()
    with closing(sqlite3.connect(tmp_path / "held", timeout=30)) as connection:
        write_ahead(connection, 30)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    release.join()


def test_patience_ends(tmp_path: Path, held: sqlite3.Connection) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "held", timeout=0)) as connection,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        write_ahead(connection, 0.05)


@pytest.mark.parametrize(
    "opened",
    [
        lambda file: PredictionStore(file).close(),
        lambda file: Database.open(f"sqlite:///{file}").close(),
        TeacherCache,
    ],
    ids=["tables", "database", "teachers"],
)
def test_threads_that_make_a_file_together_all_succeed(tmp_path: Path, opened: Callable[[Path], object]) -> None:
    done = list[int]()

    def make(number: int) -> None:
        opened(tmp_path / "file")
        done.append(number)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(12))
