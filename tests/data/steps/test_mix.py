"""The mix: weights, replay and balance give the stated numbers, in an order that a seed decides."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.data.certificate import open_split
from outcrop.data.pipeline import blocks
from outcrop.data.records import Origin, Pair, Record, Text
from outcrop.data.steps.mix import Mix, MixSpec
from outcrop.data.steps.step import Decision
from outcrop.workflows.prepare import prepare
from tests.data.test_neighbours import queries


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 23)


def rows(file: str, count: int, labels: Sequence[str] = ("yes", "no")) -> list[Record]:
    return [Pair(f"{file} {row}", labels[row % len(labels)], Origin(file, row + 1)) for row in range(count)]


def mixed(records: Sequence[Record], **spec: object) -> Decision:
    return Mix(MixSpec.parse(spec)).apply(records)


def order(decision: Decision, records: Sequence[Record]) -> list[Origin]:
    """The origins in the order of training."""
    assert decision.order is not None
    gone = set(decision.verdict.rows.tolist())
    left = [record for row, record in enumerate(records) if row not in gone]
    return [left[row].origin for row in decision.order.tolist()]


@pytest.mark.parametrize(("weight", "expected"), [(1, 100), (2, 200), (0.5, 50), (2.25, 225), (0, 0)])
def test_a_weight_is_how_often_each_row_comes(weight: float, expected: int) -> None:
    records = rows("in/a.jsonl", 100) + rows("in/b.jsonl", 30)
    decision = mixed(records, weights={"a.jsonl": weight})
    times = Counter(order(decision, records))
    counts = [times[record.origin] for record in records[:100]]
    assert sum(counts) == expected
    assert max(counts) - min(counts) <= 1
    assert all(times[record.origin] == 1 for record in records[100:])
    assert len(decision.verdict.rows) == max(0, 100 - expected)


def test_replay_makes_up_the_stated_share() -> None:
    records = rows("task.jsonl", 900) + rows("general.jsonl", 500)
    decision = mixed(records, replay={"general.jsonl": 0.1})
    assert Counter(origin.file for origin in order(decision, records)) == {"task.jsonl": 900, "general.jsonl": 100}
    short = mixed(records, replay={"general.jsonl": 0.5})
    assert short.notes == {"replay-short": 400}


def test_rare_labels_are_repeated_up_to_the_stated_share() -> None:
    records = rows("a", 80, ["common"]) + rows("b", 20, ["rare"]) + rows("c", 2, ["rarest"])
    decision = mixed(records, balance=0.5, most_repeats=5)
    found = Counter(origin.file for origin in order(decision, records))
    assert found == {"a": 80, "b": 40, "c": 10}
    assert decision.notes == {"balance-short": 30}
    with pytest.raises(DataError, match="no labels"):
        mixed([Pair(f"{n}", f"answer {n}") for n in range(20)], balance=0.5)


def test_the_order_is_a_function_of_the_seed() -> None:
    records = rows("a", 100)
    first, again, other = (order(mixed(records, seed=seed), records) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert sorted(first, key=lambda origin: origin.line) == [record.origin for record in records]
    assert order(mixed(records, order="files"), records) == [record.origin for record in records]


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(UsageError, match=r"no file is called so. Did you mean: rows.jsonl"):
        prepare(source, tmp_path / "out", steps=["mix"], settings={"mix": {"weights": {"row.jsonl": 2}}}, workers=1)
    for spec in ({"weights": {"a": -1}}, {"replay": {"a": 0.6, "b": 0.4}}, {"weights": {"a": 1}, "replay": {"a": 0.1}}):
        with pytest.raises(UsageError):
            MixSpec.parse(spec)
    with pytest.raises(DataError, match="leave no rows"):
        mixed(rows("a", 3), weights={"a": 0})


def test_training_is_mixed_and_the_sealed_test_is_not(tmp_path: Path) -> None:
    paths = []
    for name, seed in (("task", 0), ("general", 1)):
        paths.append(tmp_path / f"{name}.jsonl")
        lines = ({"prompt": f"{name} {text}", "completion": name} for text in queries(120, seed))
        paths[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = {"mix": {"weights": {"task.jsonl": 2}, "replay": {"general.jsonl": 0.2}}}
    prepare(paths, tmp_path / "one", steps=["split", "mix"], settings=settings, workers=1)
    prepare(paths, tmp_path / "plain", steps=["split"], workers=1)
    one, plain = open_split(tmp_path / "one"), open_split(tmp_path / "plain")
    assert one["test"].read_bytes() == plain["test"].read_bytes()
    lines = one["train"].read_text().splitlines()
    assert set(lines) < set(plain["train"].read_text().splitlines())
    counted = Counter(json.loads(line)["completion"] for line in lines)
    assert counted["general"] == round(counted["task"] / 0.8 * 0.2)
    account = json.loads((tmp_path / "one" / "preparation.json").read_text())
    assert account["counts"]["train"] == len(lines)


def test_kinds_that_no_file_holds_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "texts.jsonl").write_text('{"input": "a"}\n')
    with pytest.raises(DataError, match="1 pairs and 1 texts"):
        prepare([tmp_path / "pairs.jsonl", tmp_path / "texts.jsonl"], tmp_path / "out", steps=["clean"], workers=1)
    assert Mix().apply([Text("a"), Text("b")]).order is not None
