"""Anonymise as a step: what was there is never written down, and completions that change are counted apart."""

from __future__ import annotations

import json
from pathlib import Path

from outcrop.data.anonymise.spec import AnonymiseSpec
from outcrop.data.records import Pair
from outcrop.data.steps.anonymise import Anonymise
from outcrop.workflows.prepare import prepare
from tests.data.corpus import write_jsonl

ADDRESS = "eva.lund@example.org"
ROW = Pair(f"Write to {ADDRESS} soon.", f"I wrote to {ADDRESS}.")


def test_a_change_names_the_type_and_not_the_value() -> None:
    outcome = Anonymise()(ROW)
    assert outcome.record == Pair("Write to <EMAIL_1> soon.", "I wrote to <EMAIL_1>.")
    assert [(change.field, change.codes, change.before) for change in outcome.changes] == [
        ("prompt", ("email",), None), ("completion", ("email",), None),
    ]  # fmt: skip
    assert outcome.notes["email"] == 2


def test_report_changes_nothing_and_drop_drops() -> None:
    assert Anonymise(AnonymiseSpec(mode="report"))(ROW).record == ROW
    dropped = Anonymise(AnonymiseSpec(mode="drop"))(ROW).drop
    assert dropped is not None
    assert (dropped.code, dropped.detail) == ("personal-data", "2 email")


def test_no_file_of_a_preparation_holds_the_value(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": ROW.prompt, "completion": ROW.completion}])
    result = prepare(source, tmp_path / "out", steps=["clean", "anonymise"], workers=1)
    step = result.account["steps"]["anonymise"]
    assert (step["changed_rows"], step["changed_completions"]) == (1, 1)
    for path in result.folder.iterdir():
        assert ADDRESS not in path.read_text("utf-8"), path.name
    assert json.loads((result.folder / "changes.jsonl").read_text("utf-8").splitlines()[-1])["before"] is None
