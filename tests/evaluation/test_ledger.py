"""Seals and the ledger of looks: exact counts under concurrency, crashes and tampering."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.evaluation.ledger import LEDGER, Seal, look, looks, seal, verify


@pytest.fixture
def test_set(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n\n{"prompt": "c", "completion": "d"}\n')
    return path


def test_seal_counts_rows_also_when_compressed(test_set: Path, tmp_path: Path) -> None:
    sealed = seal(test_set)
    assert sealed.rows == 2
    assert sealed.digest.startswith("sha256:")
    packed = tmp_path / "test.jsonl.gz"
    packed.write_bytes(gzip.compress(test_set.read_bytes()))
    assert seal(packed).rows == 2
    assert Seal.from_dict(json.loads(json.dumps(sealed.as_dict()))) == sealed


def test_seal_refuses_what_it_cannot_count(tmp_path: Path) -> None:
    table, empty = tmp_path / "test.csv", tmp_path / "empty.jsonl"
    table.write_text("prompt,completion\na,b\n")
    empty.write_text("\n")
    assert seal(table, rows=1).rows == 1
    with pytest.raises(UsageError, match=r"test\.csv cannot be counted"):
        seal(table)
    with pytest.raises(DataError, match="without rows"):
        seal(empty)
    with pytest.raises(UsageError, match="no test set"):
        seal(tmp_path / "absent.jsonl")


def test_looks_are_counted_per_test_set(test_set: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("{}\n")
    home = tmp_path / "home"
    sealed, also = seal(test_set), seal(other)
    assert looks(sealed.digest, home) == []
    assert [look(test_set, sealed, "evaluate", f"model {n}", home) for n in range(3)] == [1, 2, 3]
    assert look(other, also, "evaluate", "base", home) == 1
    assert look(test_set, sealed, "compare", "model 3", home) == 4
    found = looks(sealed.digest, home)
    assert [entry["look"] for entry in found] == [1, 2, 3, 4]
    assert (found[3]["purpose"], found[3]["model"], found[3]["rows"]) == ("compare", "model 3", 2)


def test_changed_test_set_is_refused_and_not_counted(test_set: Path, tmp_path: Path) -> None:
    sealed = seal(test_set)
    verify(test_set, sealed)
    test_set.write_text(test_set.read_text() + '{"prompt": "e", "completion": "f"}\n')
    with pytest.raises(DataError, match="has changed") as caught:
        look(test_set, sealed, "evaluate", "base", tmp_path / "home")
    assert caught.value.where == str(test_set)
    assert looks(sealed.digest, tmp_path / "home") == []
    test_set.unlink()
    with pytest.raises(DataError, match="no file"):
        verify(test_set, sealed)


def test_half_written_look_was_never_granted(test_set: Path, tmp_path: Path) -> None:
    sealed = seal(test_set)
    look(test_set, sealed, "evaluate", "base", tmp_path)
    with (tmp_path / LEDGER).open("a") as file:
        file.write('{"digest": "' + sealed.digest)
    assert look(test_set, sealed, "evaluate", "tuned", tmp_path) == 2
    assert [entry["model"] for entry in looks(sealed.digest, tmp_path)] == ["base", "tuned"]


@pytest.mark.parametrize("edit", ["remove", "change", "garble"])
def test_edited_ledger_is_noticed(test_set: Path, tmp_path: Path, edit: str) -> None:
    sealed = seal(test_set)
    for name in ("a", "b", "c"):
        look(test_set, sealed, "evaluate", name, tmp_path)
    path = tmp_path / LEDGER
    lines = path.read_text().splitlines(keepends=True)
    if edit == "remove":
        del lines[1]
    else:
        lines[1] = lines[1].replace('"b"', '"x"') if edit == "change" else "not JSON\n"
    path.write_text("".join(lines))
    with pytest.raises(DataError, match=r"was edited") as caught:
        look(test_set, sealed, "evaluate", "d", tmp_path)
    assert caught.value.where.startswith(str(path))


def _look_often(path: Path, sealed: Seal, home: Path) -> list[int]:
    return [look(path, sealed, "evaluate", "model", home) for _ in range(10)]


def test_no_look_is_lost_between_processes(test_set: Path, tmp_path: Path) -> None:
    sealed = seal(test_set)
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_look_often, test_set, sealed, tmp_path / "home") for _ in range(3)]
        counts = sorted(count for job in jobs for count in job.result())
    assert counts == list(range(1, 31))
