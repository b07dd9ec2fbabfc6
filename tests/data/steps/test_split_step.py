"""The split of a preparation: parts and certificate as `outcrop data split` makes them; synthetic rows only train."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.data.assignment import TRAIN
from outcrop.data.certificate import open_split
from outcrop.data.crossing import crossing_pairs
from outcrop.data.draw import SplitSpec
from outcrop.data.pipeline import blocks
from outcrop.data.reading import load
from outcrop.data.records import Origin, Pair, Record, answer_text, prompt_text
from outcrop.data.split import split
from outcrop.data.steps.split import SYNTHETIC, Split
from outcrop.data.synthetic import FIELD, Mark, marked
from outcrop.workflows.check_data import split_data
from outcrop.workflows.prepare import prepare
from tests.data.test_neighbours import queries

LABELS = ("card", "transfer", "refund")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 23)


def real(count: int = 200, seed: int = 0) -> list[Record]:
    texts = queries(count, seed)
    return [Pair(text, LABELS[row % 3], Origin("rows.jsonl", row + 1)) for row, text in enumerate(texts)]


def paraphrases(rows: Sequence[Record], seed: int = 0) -> list[Record]:
    """Rows that share no words with their sources, so that only the mark ties them."""
    draw = random.Random(seed)
    made: list[Record] = []
    for row in draw.sample(list(rows), len(rows) // 2):
        mark = Mark.of(row, "paraphrase", "a model").as_dict()
        words = " ".join("".join(draw.choices("abcdefgh", k=7)) for _ in range(12))
        made.append(Pair(words, answer_text(row), Origin("made.jsonl", len(made) + 1), {FIELD: mark}))
    return made


def written(path: Path, rows: Sequence[Record]) -> Path:
    lines = ({"prompt": prompt_text(row), "completion": answer_text(row), **row.fields} for row in rows)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    "settings", [{}, {"seed": 3, "test": 0.3, "validation": 0}, {"group_by": "who"}, {"time_by": "at"}]
)
def test_a_preparation_splits_as_the_command_does(settings: dict[str, object], tmp_path: Path) -> None:
    rows = [replace(row, fields={"who": number % 40, "at": number // 2}) for number, row in enumerate(real())]
    source = written(tmp_path / "rows.jsonl", rows)
    prepare(source, tmp_path / "prepared", steps=["split"], settings={"split": settings}, workers=1)
    split_data(str(source), tmp_path / "split", spec=SplitSpec.parse(settings))
    assert open_split(tmp_path / "prepared").keys() == open_split(tmp_path / "split").keys()
    for path in (tmp_path / "split").iterdir():
        assert (tmp_path / "prepared" / path.name).read_bytes() == path.read_bytes()


def test_every_row_is_in_a_part_or_dropped(tmp_path: Path) -> None:
    source = written(tmp_path / "rows.jsonl", [*real(), *paraphrases(real())])
    account = prepare(source, tmp_path / "out", workers=1).account
    rest = account["steps"]["split"]
    assert sum(account["counts"].values()) == rest["kept"]
    assert rest["rows"] - rest["kept"] == rest["dropped"][SYNTHETIC] > 0
    texts, names = [], []
    for name in account["counts"]:
        found = load(tmp_path / "out" / f"{name}.jsonl")
        texts += [prompt_text(row) for row in found]
        names += [name] * len(found)
    assert crossing_pairs(texts, names) == []


@pytest.mark.parametrize("seed", range(5))
def test_no_synthetic_row_is_outside_of_training_nor_made_from_a_row_that_is(seed: int) -> None:
    rows = real(seed=seed)
    drawn = split([*rows, *paraphrases(rows, seed)], SplitSpec(seed=seed))
    held_out = {row.origin.line for row in [*drawn.validation, *drawn.test]}
    assert not any(map(marked, [*drawn.validation, *drawn.test]))
    kept = [row for row in drawn.train if marked(row)]
    assert kept
    assert drawn.left_out
    for row in kept:
        assert row.fields[FIELD]["line"] not in held_out
    for row in drawn.left_out:
        assert row.fields[FIELD]["line"] in held_out
    without = split(rows, SplitSpec(seed=seed))
    assert [row.origin for row in without.test] == [row.origin for row in drawn.test]
    said = drawn.certificate["synthetic"]
    assert said == {"rows": len(rows) // 2, "train": len(kept), "validation": 0, "test": 0,
                    "left_out": len(drawn.left_out), "without_source": 0}  # fmt: skip


def test_the_source_is_found_by_its_prompt_where_its_place_is_another() -> None:
    rows = real()
    made = paraphrases(rows)
    moved = [replace(row, origin=Origin("other.jsonl", row.origin.line + 7)) for row in rows]
    drawn = split([*moved, *made])
    assert drawn.certificate["synthetic"]["without_source"] == 0
    assert {row.fields[FIELD]["key"] for row in drawn.left_out} == {
        row.fields[FIELD]["key"] for row in split([*rows, *made]).left_out
    }


def test_a_near_copy_of_a_test_row_is_left_out_though_its_mark_names_no_source() -> None:
    rows = real()
    test = split(rows).test[0]
    copy = Pair(prompt_text(test) + "!", answer_text(test), fields={FIELD: True})
    drawn = split([*rows, copy])
    assert drawn.left_out == [copy]
    assert drawn.certificate["synthetic"]["without_source"] == 1


@pytest.mark.parametrize(
    ("value", "synthetic"), [("true", True), ("False", False), (0, False), (None, False), (1, True)]
)
def test_a_column_of_that_name_is_believed(value: object, synthetic: bool) -> None:
    assert marked(Pair("a", "b", fields={FIELD: value})) == synthetic


def test_the_mark_stays_with_the_row_in_every_file(tmp_path: Path) -> None:
    source = written(tmp_path / "rows.jsonl", [*real(), *paraphrases(real())])
    prepare(source, tmp_path / "rows", steps=["clean"], workers=1)
    prepare(tmp_path / "rows" / "rows.jsonl", tmp_path / "out", steps=["split"], workers=1)
    split_data(str(tmp_path / "rows" / "rows.jsonl"), tmp_path / "again")
    for folder in ("out", "again"):
        parts = {name: load(path) for name, path in open_split(tmp_path / folder).items()}
        assert any(map(marked, parts["train"]))
        assert not any(map(marked, [*parts["validation"], *parts["test"]]))


def test_rows_that_are_all_synthetic_are_refused() -> None:
    with pytest.raises(DataError, match="never in a test"):
        split(paraphrases(real()))


def test_the_step_alone_gives_the_parts_of_records_in_memory() -> None:
    decision = Split(SplitSpec(seed=2)).apply(real())
    drawn = split(real(), SplitSpec(seed=2))
    assert decision.parts is not None
    assert [row + 1 for row in np.flatnonzero(decision.parts == TRAIN)] == [row.origin.line for row in drawn.train]


def test_steps_after_a_split_are_refused(tmp_path: Path) -> None:
    source = written(tmp_path / "rows.jsonl", real())
    with pytest.raises(UsageError, match=r"split and mix come last, in this order. Write: clean,split,mix"):
        prepare(source, tmp_path / "out", steps=["split", "clean", "mix"], workers=1)
