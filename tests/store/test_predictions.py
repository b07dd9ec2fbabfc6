"""The cache of predictions: what was kept is found, the least used goes first, other writers are no trouble."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from outcrop.core.errors import StoreUnavailable
from outcrop.store.predictions import DAY_S, PredictionStore


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_was_kept_is_found_also_later(tmp_path: Path) -> None:
    with PredictionStore(tmp_path / "home" / "cache") as store:
        store.keep({key(number): f"answer {number}" for number in range(1200)})
        assert store.find([key(3), key(1199), key(5000)]) == {key(3): "answer 3", key(1199): "answer 1199"}
        store.keep([(key(3), "another")])
    with PredictionStore(tmp_path / "home" / "cache") as store:
        assert store.find([key(number) for number in range(1200)])[key(3)] == "answer 3"
        assert store.count() == 1200
    assert (tmp_path / "home" / "cache").stat().st_mode & 0o077 == 0


def test_beyond_its_size_the_least_lately_used_go(tmp_path: Path) -> None:
    now = 2e9
    with PredictionStore(tmp_path / "cache", most_bytes=100_000, clock=lambda: now) as store:
        store.keep((key(number), "x" * 1000) for number in range(40))
        now += 3 * DAY_S
        used = [key(number) for number in range(10)]
        assert len(store.find(used)) == 10
        store.keep((key(number), "x" * 1000) for number in range(100, 150))
        assert store.count() < 90
        assert len(store.find(used)) == 10
        assert not store.find([key(number) for number in range(10, 40)])


def test_writers_in_several_threads_and_connections(tmp_path: Path) -> None:
    def write(first: int) -> None:
        with PredictionStore(tmp_path / "cache") as store:
            for number in range(first, first + 20):
                store.keep({key(number): "x"})

    threads = [threading.Thread(target=write, args=(100 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with PredictionStore(tmp_path / "cache") as store:
        assert store.count() == 80


def test_a_file_of_another_kind_or_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, and long enough to be looked at " * 20)
    with sqlite3.connect(tmp_path / "newer") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    for path in (tmp_path / "text", tmp_path / "newer", tmp_path):
        with pytest.raises(StoreUnavailable, match="delete it, or name another"):
            PredictionStore(path)


def test_what_fails_half_way_was_never_written(tmp_path: Path) -> None:
    with PredictionStore(tmp_path / "cache") as store:
        with pytest.raises(ZeroDivisionError):
            store.keep((key(number), str(1 // (3 - number))) for number in range(5))
        assert store.count() == 0
