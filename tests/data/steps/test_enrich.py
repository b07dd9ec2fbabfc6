"""Enrich: joined columns, templates, completions and system messages, and what becomes of rows without a partner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text
from outcrop.data.steps.enrich import Enrich, EnrichSpec
from outcrop.workflows.prepare import prepare

PLACE = Origin("rows.jsonl", 3)


@pytest.fixture
def customers(tmp_path: Path) -> str:
    path = tmp_path / "customers.csv"
    path.write_text("number,tier,city\n1,gold,Lima\n2,,Quito\n")
    return str(path)


def enriched(record: Record, **spec: object) -> Record | None:
    return Enrich(EnrichSpec.parse(spec))(record).record


def test_columns_are_joined_by_a_key_whatever_its_name_and_type(customers: str) -> None:
    row = Pair("Hello", "Hi", PLACE, {"id": 1, "city": "old"})
    outcome = Enrich(EnrichSpec(join=customers, on="id=number"))(row)
    assert outcome.record is not None
    assert dict(outcome.record.fields) == {"id": 1, "city": "Lima", "tier": "gold"}
    assert dict(outcome.notes) == {"joined": 1, "replaced-column": 1}
    chosen = enriched(row, join=customers, on="id=number", columns=["tier"])
    assert chosen is not None
    assert dict(chosen.fields) == {"id": 1, "city": "old", "tier": "gold"}


def test_joined_columns_stand_in_the_prompt(customers: str) -> None:
    spec = {"join": customers, "on": "number", "template": "[{tier}] {{{prompt}}}"}
    assert enriched(Pair("Hello", "Hi", PLACE, {"number": "1"}), **spec) == Pair(
        "[gold] {Hello}", "Hi", PLACE, {"number": "1", "tier": "gold", "city": "Lima"}
    )
    outcome = Enrich(EnrichSpec.parse(spec))(Pair("Hello", "Hi", PLACE, {"number": "2"}))
    assert outcome.drop is not None
    assert tuple(outcome.drop) == ("no-value", "tier")


def test_a_column_becomes_the_completion_of_a_text(customers: str) -> None:
    made = enriched(Text("Where?", PLACE, {"number": 2}), join=customers, on="number", completion="city")
    assert made == Pair("Where?", "Quito", PLACE, {"number": 2, "tier": ""})
    with pytest.raises(DataError, match="has an answer already"):
        enriched(Pair("a", "b", PLACE, {"city": "x"}), completion="city")


def test_a_system_message_is_added_where_there_is_none() -> None:
    turns = (Message("user", "a"), Message("assistant", "b"))
    made = Conversation((Message("system", "Be brief."), *turns), PLACE)
    assert enriched(Pair("a", "b", PLACE), system="Be brief.") == made
    assert enriched(Conversation(turns, PLACE), system="Be brief.") == made
    outcome = Enrich(EnrichSpec(system="Be long."))(made)
    assert (outcome.record, dict(outcome.notes)) == (made, {"has-system": 1})


@pytest.mark.parametrize(("unmatched", "kept"), [("drop", False), ("keep", True)])
def test_rows_without_a_partner_are_refused_dropped_or_kept(unmatched: str, kept: bool, customers: str) -> None:
    for fields in ({"number": 9}, {}):
        row = Pair("a", "b", PLACE, fields)
        with pytest.raises(DataError, match=r"rows\.jsonl:3: .*customers\.csv has no row for it"):
            enriched(row, join=customers, on="number")
        outcome = Enrich(EnrichSpec.parse({"join": customers, "on": "number", "unmatched": unmatched}))(row)
        assert (outcome.record is not None) == kept
        assert ("unmatched" in outcome.notes) == kept


def test_what_cannot_be_joined_is_refused_before_a_row_is_read(customers: str, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps({"prompt": "a", "completion": "b", "number": 1}) + "\n")
    twice = tmp_path / "twice.csv"
    twice.write_text("number,x\n1,a\n1,b\n")
    for settings, message in (
        ({"join": "nowhere.csv"}, "no file nowhere.csv"),
        ({"join": customers, "on": "nummer"}, "no column nummer. Did you mean: number"),
        ({"join": str(twice), "on": "number"}, "twice.csv:2: number is '1' again|twice.csv:3: number is '1' again"),
        ({"columns": ["x"]}, "no file to join them from"),
        ({"template": "{completion}"}, "would show the answer"),
    ):
        with pytest.raises((UsageError, DataError), match=message):
            prepare(source, tmp_path / "out", steps=["enrich"], settings={"enrich": settings}, workers=1)
    assert not (tmp_path / "out.partial").exists()


def test_joined_columns_serve_the_steps_after_it(customers: str, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    lines = ({"prompt": f"question {n}", "completion": "b", "number": n} for n in (1, 2))
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = {"enrich": {"join": customers, "on": "number"}, "filter": {"keep_if": ['fields["tier"] == "gold"']}}
    prepare(source, tmp_path / "out", steps=["enrich", "filter"], settings=settings, workers=1)
    assert len((tmp_path / "out" / "rows.jsonl").read_text().splitlines()) == 1
