"""Preparing as a verb: the report and the card that stand beside the rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outcrop.core.files import digest
from outcrop.data.card import Provenance
from outcrop.workflows.prepare import prepare
from tests.data.corpus import rows, write_jsonl


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    values = rows("prompt-completion")
    values[5]["prompt"] = " two  spaces "
    values[9]["prompt"] = None
    return write_jsonl(tmp_path / "tickets.jsonl", [*values, values[0]])


def test_a_preparation_brings_its_report_and_its_card(dirty: Path, tmp_path: Path) -> None:
    stated = Provenance("Tickets", licences=("CC BY 4.0",))
    done = prepare(dirty, tmp_path / "out", workers=1, provenance=stated)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert done.report == tmp_path / "out" / "report.html"
    assert card["preparation"] == json.loads((tmp_path / "out" / "preparation.json").read_text())
    assert card["split"] == json.loads((tmp_path / "out" / "split.json").read_text())
    assert card["provenance"]["licences"] == ["CC BY 4.0"]
    assert card["profile"]["rows"] == done.account["counts"]["train"] + done.account["counts"]["validation"]
    assert {each["name"]: each["digest"] for each in card["files"]} == {
        name: digest(tmp_path / "out" / name) for name in ("train.jsonl", "validation.jsonl", "test.jsonl")
    }
    page = (tmp_path / "out" / "report.html").read_text()
    assert "null-content" in page
    assert "exact-duplicate" in page
    assert "What was changed" in page
    assert "prepare.toml" in (tmp_path / "out" / "card.md").read_text()


def test_the_report_shows_nothing_of_the_sealed_test(dirty: Path, tmp_path: Path) -> None:
    prepare(dirty, tmp_path / "out", workers=1)
    shown = "".join((tmp_path / "out" / name).read_text() for name in ("report.html", "card.json", "card.md"))
    for line in (tmp_path / "out" / "test.jsonl").read_text().splitlines():
        assert json.loads(line)["prompt"] not in shown


def test_of_many_rows_some_are_drawn_and_the_card_says_so(
    dirty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outcrop.workflows.prepared_card.MOST_ROWS", 20)
    prepare(dirty, tmp_path / "out", steps=["clean"], workers=1)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert (card["profile"]["rows"], card["drawn_from"]) == (20, 64)
    assert "drawn from 64" in (tmp_path / "out" / "report.html").read_text()
    assert "drawn from 64" in (tmp_path / "out" / "card.md").read_text()


def test_told_so_it_writes_no_report(dirty: Path, tmp_path: Path) -> None:
    done = prepare(dirty, tmp_path / "out", workers=1, report=False)
    assert done.report is None
    assert not {"report.html", "card.md", "card.json"} & {path.name for path in (tmp_path / "out").iterdir()}
