"""The runner: the same bytes for any number of workers and any number of kills, every row accounted for."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Event
from outcrop.data.pipeline import blocks
from outcrop.data.pipeline.chain import parse_assignments
from outcrop.workflows.prepare import prepare
from tests.data.corpus import rows, write_jsonl

FILES = ("rows.jsonl", "dropped.jsonl", "changes.jsonl", "preparation.json", "prepare.toml")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 7)


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """Three files in different containers, some rows dirty, some broken."""
    values = rows("prompt-completion")
    values[5]["prompt"] = " two  spaces "
    values[9]["prompt"] = None
    plain = write_jsonl(tmp_path / "plain.jsonl", values)
    with plain.open("a") as file:
        file.write("not json\n\n")
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    array = tmp_path / "array.json"
    array.write_text(json.dumps(rows("prompt-completion")[:20]))
    table = tmp_path / "table.csv"
    table.write_text("prompt,completion\n" + "".join(f"question  {n},answer {n}\n" for n in range(20)))
    return [str(path) for path in (plain, packed, array, table)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_row_is_kept_or_dropped_with_a_reason(data: list[str], tmp_path: Path) -> None:
    account = prepare(data, tmp_path / "out", steps=["clean"], workers=1).as_dict()
    read, clean = account["steps"]["read"], account["steps"]["clean"]
    assert (read["rows"], read["kept"]) == (65 * 2 + 40, 63 * 2 + 40)
    assert read["dropped"] == {"bad-json": 2, "null-content": 2}
    assert read["notes"] == {"blank-line": 2}
    assert (clean["rows"], clean["changed_rows"]) == (read["kept"], 2 + 20)
    assert account["counts"] == {"rows": clean["kept"]}
    dropped = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()]
    assert [(Path(row["file"]).name, row["line"], row["reason"]) for row in dropped[:2]] == [
        ("plain.jsonl", 10, "null-content"), ("plain.jsonl", 65, "bad-json"),
    ]  # fmt: skip
    written = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert len(written) == clean["kept"]
    assert written[5]["prompt"] == "two spaces"
    assert {"report.html", "card.md", "card.json"} < {path.name for path in (tmp_path / "out").iterdir()}
    assert not (tmp_path / "out" / "run").exists()
    assert not (tmp_path / "out.partial").exists()


def test_the_number_of_workers_changes_no_byte(data: list[str], tmp_path: Path) -> None:
    prepare(data, tmp_path / "one", workers=1)
    prepare(data, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_every_stage_tells_how_far_it_is_and_what_is_left(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows("prompt-completion"))
    events: list[Event] = []
    prepare(source, tmp_path / "out", steps=["clean", "dedupe", "split"], workers=1, listener=events.append)
    told = [event for event in events if event["event"] == "progress"]
    assert list(dict.fromkeys(event["title"].replace("64", "N") for event in told)) == [
        "reading, clean",
        "dedupe: measuring",
        "dedupe: deciding on N rows: comparing",
        "split: measuring",
        "split: deciding on N rows: finding near-duplicates",
        "split: deciding on N rows: proving that no almost equal pair crosses",
        "writing",
    ]
    assert [event["title"] for event in told if event["done"] and event["eta_s"] is None] == []
    assert all(0 <= event["done"] <= event["total"] for event in told if event["total"])


KILLED = """
import os, signal, sys
from outcrop.data.pipeline import blocks, tasks
from outcrop.data.pipeline.shards import Shard
from outcrop.workflows.prepare import prepare
blocks.BLOCK_ROWS = 7
finish, left = Shard.finish, int(sys.argv[2])
def counted(self, *arguments):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    finish(self, *arguments)
Shard.finish = counted
prepare(sys.argv[3:], sys.argv[1], workers=1, resume=True)
"""


def test_killed_again_and_again_the_result_is_the_same(data: list[str], tmp_path: Path) -> None:
    prepare(data, tmp_path / "whole", workers=1)
    for finished in (3, 9, 12):
        run = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(finished), *data], check=False, timeout=100
        )
        assert run.returncode == -signal.SIGKILL
    stages = tmp_path / "killed.partial" / "run" / "stages"
    marks = {path: path.stat().st_mtime_ns for path in stages.glob("*/*.json")}
    assert len(marks) >= 12
    (stages / "0-read" / "000001.rows").write_text("damaged")
    prepare(data, tmp_path / "killed", workers=1, resume=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_going_on_with_something_else_is_refused(data: list[str], tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "out"), "3", *data], check=False, timeout=100)
    with pytest.raises(UsageError, match="unfinished run"):
        prepare(data, tmp_path / "out", workers=1)
    with pytest.raises(UsageError, match="another chain"):
        prepare(data, tmp_path / "out", settings={"clean": {"html": False}}, workers=1, resume=True)
    with pytest.raises(UsageError, match="another inputs"):
        prepare(data[:1], tmp_path / "out", workers=1, resume=True)


def test_a_file_that_loses_rows_unseen_is_refused_and_nothing_is_left(data: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(Path(data[1]).read_bytes()[:200])
    with pytest.raises(DataError, match=r"broken\.jsonl\.gz: decompression failed"):
        prepare([data[0], str(broken)], tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("settings", "message"), [
    ({"split": {"group_by": "customer"}}, r"customer: missing(.*\n)+.*To prepare without a split"),
    ({"split": {"test": 0.5, "validation": 0.5}}, "leave no training rows"),
    ({"filter": {"keep_if": ["len(prompt) > 9999"]}}, "No rows are left"),
])  # fmt: skip
def test_what_cannot_be_mended_by_going_on_leaves_nothing(
    settings: dict[str, Any], message: str, data: list[str], tmp_path: Path
) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        prepare(data[2:], tmp_path / "out", settings=settings, workers=1)
    assert not (tmp_path / "out.partial").exists()


def test_no_step_is_asked_about_no_rows(data: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No rows are left \(decontaminate: \d+ exact\)"):
        prepare(data[2:3], tmp_path / "out", settings={"decontaminate": {"against": data[2:3]}}, workers=1)
    assert not (tmp_path / "out.partial").exists()


def test_settings_are_read_from_words() -> None:
    words = ["mix.weights=a.jsonl=2,b=0.5", 'mix.replay={"c": 0.1}', "filter.languages=en, de", "split.seed=3"]
    assert parse_assignments(words) == {
        "mix": {"weights": {"a.jsonl": "2", "b": "0.5"}, "replay": {"c": 0.1}},
        "filter": {"languages": ["en", "de"]},
        "split": {"seed": "3"},
    }
    with pytest.raises(UsageError, match=r"mix\.weights=a does not say"):
        parse_assignments(["mix.weights=a"])


def test_a_file_without_usable_rows_is_refused(data: list[str], tmp_path: Path) -> None:
    useless = tmp_path / "useless.jsonl"
    useless.write_text("one\ntwo\n")
    with pytest.raises(DataError, match=r"No row of .*useless\.jsonl can be used: .*useless\.jsonl:1: "):
        prepare([data[0], str(useless)], tmp_path / "out", workers=1)


def test_the_written_recipe_makes_the_same_preparation(data: list[str], tmp_path: Path) -> None:
    prepare(data, tmp_path / "first", settings={"clean": {"completions": True}}, workers=1)
    prepare(data, tmp_path / "second", recipe=tmp_path / "first" / "prepare.toml", workers=1)
    first, second = contents(tmp_path / "first"), contents(tmp_path / "second")
    assert {"train.jsonl", "validation.jsonl", "test.jsonl", "split.json"} < set(first)
    assert all(first[name] == second[name] for name in first if name.endswith(".jsonl") or name == "split.json")
    assert b"completions = true  # argument" in first["prepare.toml"]
