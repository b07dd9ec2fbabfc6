"""`data synthesise` with a real engine: marked rows, an account of every request, the same bytes when resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from outcrop.cli.app import app
from outcrop.core.errors import DataError, UsageError
from outcrop.data.mapping import Mapping
from outcrop.data.pipeline.shards import Shard
from outcrop.data.reading import load
from outcrop.data.records import Pair
from outcrop.data.synthesis import SynthesisSpec
from outcrop.data.synthetic import FIELD, marked
from outcrop.workflows.check_data import split_data
from outcrop.workflows.prepare import prepare
from outcrop.workflows.synthesise import synthesise
from tests.data.corpus import prompts, write_jsonl

SPEC = SynthesisSpec(max_new_tokens=30)


@pytest.fixture
def model() -> str:
    """A small model that comes to an end and writes whole characters; random weights seldom do."""
    return "bundled:pebble-s"


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(write_jsonl(tmp_path / "rows.jsonl", [{"prompt": text, "completion": "x"} for text in prompts()]))


def test_every_request_is_made_or_dropped_and_every_row_is_marked(model: str, data: str, tmp_path: Path) -> None:
    result = synthesise(model, data, tmp_path / "out", spec=SPEC)
    account = result.account
    made = load(tmp_path / "out" / "rows.jsonl")
    assert account["asked"] == len(prompts()) == account["made"] + sum(account["dropped"].values())
    assert account["made"] == len(made) > 0
    assert len((tmp_path / "out" / "dropped.jsonl").read_text().splitlines()) == sum(account["dropped"].values())
    assert all(marked(row) for row in made)
    assert {row.fields[FIELD]["file"] for row in made} == {data}
    assert len({row.prompt for row in made if isinstance(row, Pair)}) == len(made)
    again = prepare([data, tmp_path / "out" / "rows.jsonl"], tmp_path / "parts", steps=["split"], workers=1).account
    synthetic = again["steps"]["split"]["figures"]["synthetic"]
    assert (synthetic["test"], synthetic["validation"], synthetic["without_source"]) == (0, 0, 0)
    with pytest.raises(DataError, match="none was asked for"):
        synthesise(model, tmp_path / "out" / "rows.jsonl", tmp_path / "third", spec=SPEC)


class Stopped(Exception):
    """What ends a run in the middle of the test."""


def test_ended_in_the_middle_and_resumed_it_is_the_same(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outcrop.workflows.synthesise.TOGETHER", 16)
    synthesise(model, data, tmp_path / "whole", spec=SPEC)
    finish = Shard.finish

    def ended(self: Shard, *arguments: Any) -> None:
        if self.number == 3:
            raise Stopped
        finish(self, *arguments)

    monkeypatch.setattr(Shard, "finish", ended)
    with pytest.raises(Stopped):
        synthesise(model, data, tmp_path / "ended", spec=SPEC)
    monkeypatch.setattr(Shard, "finish", finish)
    with pytest.raises(UsageError, match="another parameters"):
        synthesise(model, data, tmp_path / "ended", spec=SPEC.model_copy(update={"seed": 1}), resume=True)
    synthesise(model, data, tmp_path / "ended", spec=SPEC, resume=True)
    for file in ("rows.jsonl", "dropped.jsonl", "synthesis.json"):
        assert (tmp_path / "ended" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_texts_are_answered(model: str, tmp_path: Path) -> None:
    texts = write_jsonl(tmp_path / "texts.jsonl", [{"question": text} for text in prompts()])
    spec = SynthesisSpec(how="answer", max_new_tokens=30)
    synthesise(model, texts, tmp_path / "out", Mapping.from_text("text=question"), spec=spec)
    rows = load(tmp_path / "out" / "rows.jsonl")
    assert rows
    assert all(isinstance(row, Pair) and row.prompt in prompts() and row.completion for row in rows)


def test_nothing_is_made_from_a_sealed_test(model: str, data: str, tmp_path: Path) -> None:
    split_data(data, tmp_path / "parts")
    with pytest.raises(UsageError, match=r"test part of a split: .*\. Name .*train\.jsonl"):
        synthesise(model, tmp_path / "parts" / "test.jsonl", tmp_path / "out", spec=SPEC)


def test_the_command_prints_the_account(model: str, data: str, tmp_path: Path) -> None:
    arguments = ["data", "synthesise", data, "--model", model, "--to", str(tmp_path / "out"), "--output", "json",
                 "--max-new-tokens", "30", "--temperature", "1.5"]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["asked"] == len(prompts())
