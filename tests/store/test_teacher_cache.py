"""Entries are whole and durable or not there, are never changed, and are found by what was asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from outcrop.core.errors import StoreUnavailable
from outcrop.store.teacher_cache import Holding, TeacherCache, key_of


def test_what_was_put_is_found_and_nothing_else(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path / "deep" / "teachers.db")
    cache.put({"a": b"one", "b": b"two"}, kind="answer", teacher="t")
    assert cache.get(["a", "b", "c"]) == {"a": b"one", "b": b"two"}
    assert TeacherCache(cache.path).get(["b"]) == {"b": b"two"}
    assert cache.get([]) == {}


def test_an_entry_never_changes(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path / "teachers.db")
    cache.put({"a": b"one"}, kind="answer", teacher="t")
    cache.put({"a": b"other"}, kind="answer", teacher="t")
    assert cache.get(["a"]) == {"a": b"one"}


def test_more_keys_than_one_statement_takes(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path / "teachers.db")
    entries = {key_of(number=number): str(number).encode() for number in range(1203)}
    cache.put(entries, kind="signal", teacher="t")
    assert cache.get(list(entries)) == entries


def test_holdings_and_forgetting(tmp_path: Path) -> None:
    cache = TeacherCache(tmp_path / "teachers.db")
    cache.put({"a": b"123", "b": b"4"}, kind="answer", teacher="t")
    cache.put({"c": b"12345"}, kind="signal", teacher="u")
    assert cache.holdings() == [Holding("t", "answer", 2, 4), Holding("u", "signal", 1, 5)]
    assert cache.forget("t") == 2
    assert cache.get(["a", "c"]) == {"c": b"12345"}


def test_a_key_depends_on_all_that_was_asked_and_on_no_order() -> None:
    assert key_of(teacher="t", prompt=[1, 2]) == key_of(prompt=[1, 2], teacher="t")
    assert len({key_of(a=1), key_of(a=2), key_of(b=1), key_of(a="1")}) == 4


def test_a_process_that_is_killed_loses_nothing_that_it_had_put(tmp_path: Path) -> None:
    path = tmp_path / "teachers.db"
    writer = (
        "import sys; from pathlib import Path; from outcrop.store.teacher_cache import TeacherCache\n"
        f"cache = TeacherCache(Path({str(path)!r}))\n"
        "for number in range(10_000):\n"
        "    cache.put({str(number): bytes(100)}, kind='answer', teacher='t'); print(number, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = -1
    while last < 20:
        last = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split("\n")
    process.wait()
    process.stdout.close()
    told = [last, *(int(line) for line in rest[:-1] if line)]
    found = TeacherCache(path).get([str(number) for number in range(max(told) + 1)])
    assert len(found) == max(told) + 1


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "teachers.db"
    path.write_text("something else " * 100)
    with pytest.raises(StoreUnavailable, match=r"teachers\.db"):
        TeacherCache(path)
