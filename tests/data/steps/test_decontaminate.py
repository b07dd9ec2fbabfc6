"""Decontamination: no row that holds a reference stays, others do, and no text of a reference is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.data.records import Pair, Record, Text
from outcrop.data.split import split, write_split
from outcrop.data.steps.decontaminate import Decontaminate, DecontaminateSpec
from tests.data.corpus import records, write_jsonl

LONG = "A farmer had sixty sheep and sold a third of them in March before he bought twice as many lambs in May."
SHORT = "Where is the silver key?"
TINY = "Lima Peru"
REFERENCES = [LONG, SHORT, TINY, "How many different birds were counted on the island in the winter of that cold year?"]


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "bench.jsonl", [{"prompt": each, "completion": "secret"} for each in REFERENCES])


def dropped(rows: list[Record], *against: Path, **parameters: object) -> dict[int, tuple[str, str]]:
    spec = DecontaminateSpec.parse({"against": [str(path) for path in against], **parameters})
    verdict = Decontaminate(spec).apply(rows).verdict
    return {row: (code, Path(detail).name) for row, code, _, detail in verdict.entries()}


def test_equal_almost_equal_and_contained_references_are_found(benchmark: Path) -> None:
    rows: list[Record] = [
        Pair(LONG.upper(), "x"),
        Pair(LONG.replace("sixty", "ninety").replace(",", ""), "x"),
        Pair("Solve this. " + LONG + " Show every step of the way and give the answer in one line.", "x"),
        Pair("Tell me a riddle.", f"Here is one that I like: {LONG} Do you know the answer to it, my dear friend?"),
        Text("He asked his old friend again and again: where is the silver key? Nobody in the house knew about it."),
        Pair(TINY.lower(), "x"),
        Pair("Is Lima Peru's capital, or is it another town?", "x"),
        Pair("A farmer had many goats and never sold one of them, whatever the season of the year or the price.", "x"),
        Pair("Where is the golden key?", "x"),
    ]
    assert dropped(rows, benchmark) == {
        0: ("exact", "bench.jsonl:1"), 1: ("near", "bench.jsonl:1"), 2: ("contained", "bench.jsonl:1"),
        3: ("contained", "bench.jsonl:1"), 4: ("contained", "bench.jsonl:2"), 5: ("exact", "bench.jsonl:3"),
    }  # fmt: skip


def test_a_split_folder_brings_its_test_and_validation(tmp_path: Path) -> None:
    rows = records("prompt-completion")
    drawn = split(rows)
    write_split(drawn, tmp_path / "parts")
    hits = dropped(rows, tmp_path / "parts")
    held = {record.prompt for record in [*drawn.test, *drawn.validation] if isinstance(record, Pair)}
    exact = {row for row, (code, _) in hits.items() if code == "exact"}
    assert {record.prompt for row, record in enumerate(rows) if row in exact and isinstance(record, Pair)} == held
    assert not dropped(drawn.train[:0], tmp_path / "parts")
    (tmp_path / "parts" / "test.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="not the file that was split"):
        dropped(rows, tmp_path / "parts")


def test_references_can_have_columns_of_their_own(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "b.jsonl", [{"question": LONG, "answer": "1"}])
    assert dropped([Pair(LONG, "x")], path, map="prompt=question,completion=answer") == {0: ("exact", "b.jsonl:1")}


def test_a_reference_that_needs_columns_named_says_how(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "b.jsonl", [{"question": LONG, "answer": "1"}])
    with pytest.raises(DataError, match=r"reference .*b\.jsonl(.*\n)+.*decontaminate\.map="):
        dropped([Pair(LONG, "x")], path)


def test_a_frame_around_all_prompts_makes_no_row_a_reference(tmp_path: Path) -> None:
    frame = (
        "Read the message of the customer with care and then name the one intent that fits it best. Message: {} Intent:"
    )
    rows = [
        Pair(frame.format(record.prompt), "x") for record in records("prompt-completion") if isinstance(record, Pair)
    ]
    path = write_jsonl(tmp_path / "b.jsonl", [{"prompt": frame.format("my card is lost"), "completion": "y"}])
    assert dropped([*rows, Pair(frame.format("My card is lost!"), "x")], path) == {64: ("near", "b.jsonl:1")}


def test_no_reference_is_no_work_and_an_absent_one_is_refused(tmp_path: Path) -> None:
    rows: list[Record] = [Pair(LONG, "x")]
    assert dropped(rows) == {}
    with pytest.raises(UsageError, match="nothing to decontaminate against"):
        dropped(rows, tmp_path / "absent.jsonl")


def test_the_figures_name_files_and_no_text(benchmark: Path) -> None:
    decision = Decontaminate(DecontaminateSpec(against=(str(benchmark),))).apply([Pair(LONG, "x")] * 3)
    assert decision.figures["rows_by_reference"] == {str(benchmark): 3}
    assert decision.figures["references_held"] == 1
    assert "farmer" not in str(decision)
