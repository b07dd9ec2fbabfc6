"""Splits: leak-free, exact, stratified, seeded, and whole on disk."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.core.files import digest
from outcrop.data.assignment import PARTS
from outcrop.data.certificate import open_split
from outcrop.data.crossing import crossing_pairs
from outcrop.data.draw import SplitSpec
from outcrop.data.reading import load
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text, answer_text, prompt_text
from outcrop.data.split import Split, split, write_split
from tests.data.corpus import prompts
from tests.data.test_neighbours import queries

LABELS = ("card", "transfer", "refund")


def labelled(count: int = 300, seed: int = 0) -> list[Record]:
    """Rows with near-duplicates and with labels in the proportion 6 : 3 : 1."""
    names = [LABELS[0]] * 6 + [LABELS[1]] * 3 + [LABELS[2]]
    return [Pair(text, names[row % 10], Origin("rows.jsonl", row + 1)) for row, text in enumerate(queries(count, seed))]


def crossings(drawn: Split) -> list[tuple[int, int]]:
    rows = [(prompt_text(record), name) for name, part in drawn.parts().items() for record in part]
    return crossing_pairs([text for text, _ in rows], [name for _, name in rows])


@pytest.mark.parametrize("seed", range(4))
def test_no_near_pair_crosses_and_no_row_is_lost(seed: int) -> None:
    records = labelled(seed=seed)
    drawn = split(records, SplitSpec(seed=seed))
    assert crossings(drawn) == []
    together = [record for part in drawn.parts().values() for record in part]
    assert sorted(record.origin.line for record in together) == [record.origin.line for record in records]
    for part in drawn.parts().values():
        assert part == sorted(part, key=lambda record: record.origin.line)


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.1), (0.2, 0.05), (0, 0.3), (0.3, 0), (0, 0)])
def test_parts_have_the_asked_sizes(validation: float, test: float) -> None:
    records = labelled()
    drawn = split(records, SplitSpec(seed=1, validation=validation, test=test))
    assert len(drawn.test) == round(test * len(records))
    assert len(drawn.validation) == round(validation * len(records))
    assert drawn.certificate["counts"] == {name: len(part) for name, part in drawn.parts().items()}


def test_labels_have_their_share_in_each_part() -> None:
    records = [Pair(f"{text} {row}", LABELS[row % 3 % 2]) for row, text in enumerate(prompts() * 5)]
    drawn = split(records)
    whole = Counter(answer_text(record) for record in records)
    for part in (drawn.validation, drawn.test):
        found = Counter(answer_text(record) for record in part)
        for label, count in whole.items():
            assert abs(found[label] - count * len(part) / len(records)) <= 1
    assert drawn.certificate["labels"]["card"]["test"] == Counter(answer_text(record) for record in drawn.test)["card"]


def test_every_label_stays_in_training() -> None:
    records = [Pair(text, "common") for text in prompts()[:60]] + [Pair("rare one", "rare"), Pair("other", "rare")]
    drawn = split(records, SplitSpec(validation=0.3, test=0.3))
    assert {answer_text(record) for record in drawn.train} == {"common", "rare"}


def test_a_split_is_a_function_of_seed_and_rows_not_of_their_order() -> None:
    records = labelled()
    shuffled = random.Random(3).sample(records, len(records))
    spec = SplitSpec(seed=5)
    tests = [{record.origin.line for record in split(rows, spec).test} for rows in (records, records, shuffled)]
    assert tests[0] == tests[1] == tests[2]
    assert tests[0] != {record.origin.line for record in split(records, SplitSpec(seed=6)).test}


def test_what_minhash_misses_is_found_by_the_proof_and_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outcrop.data.draw.clusters_of", lambda prints, of, tell: np.arange(len(prints.same)))
    drawn = split(labelled())
    assert crossings(drawn) == []
    assert drawn.certificate["clusters"]["rows_with_neighbours"] > 0


def test_shares_that_leave_nothing_are_refused() -> None:
    for validation, test in ((0.5, 0.5), (0.2, 0.9)):
        with pytest.raises(UsageError, match="leave no training rows"):
            split(labelled(), SplitSpec(validation=validation, test=test))


def test_rows_that_are_all_alike_cannot_be_split() -> None:
    with pytest.raises(DataError, match="form 1 clusters, the largest of 30 rows"):
        split([Pair("the same question", "x")] * 30)


def test_kinds_are_not_mixed() -> None:
    with pytest.raises(DataError, match="Cannot split Pair and Text"):
        split([Pair("a", "b"), Text("c")])
    with pytest.raises(DataError, match="no records"):
        split([])


CONTEXT = (Message("user", "Hello"), Message("assistant", "Hi", 0.0))
CONVERSATIONS: list[Record] = [
    Conversation((*CONTEXT, Message("user", text), Message("assistant", "yes"))) for text in prompts()
]


@pytest.mark.parametrize("records", [labelled(), CONVERSATIONS, [Text(text) for text in prompts()]])
def test_written_parts_read_back_and_match_their_seals(records: list[Record], tmp_path: Path) -> None:
    drawn = split(records)
    write_split(drawn, tmp_path / "out")
    paths = open_split(tmp_path / "out")
    assert list(paths) == list(PARTS)
    for name, part in drawn.parts().items():
        read = load(paths[name])
        assert [(prompt_text(record), answer_text(record)) for record in read] == [
            (prompt_text(record), answer_text(record)) for record in part
        ]
        assert digest(paths[name]) == drawn.certificate["digests"][name]
    certificate = json.loads((tmp_path / "out" / "split.json").read_text())
    assert certificate == json.loads(json.dumps(drawn.certificate))
    assert certificate["proof"]["pairs_across_parts"] == 0
    assert certificate["sealed"] == "test"


def test_other_columns_are_named_as_left_out(tmp_path: Path) -> None:
    records = [Pair(text, "yes", fields={"id": row, "source": "x"}) for row, text in enumerate(prompts())]
    drawn = split(records)
    write_split(drawn, tmp_path / "out")
    assert drawn.certificate["fields_left_out"] == ["id", "source"]
    line = json.loads((tmp_path / "out" / "test.jsonl").read_text().splitlines()[0])
    assert list(line) == ["prompt", "completion"]


def test_a_changed_part_is_refused(tmp_path: Path) -> None:
    write_split(split(labelled()), tmp_path / "out")
    with (tmp_path / "out" / "test.jsonl").open("a") as file:
        file.write('{"prompt": "one more", "completion": "card"}\n')
    (tmp_path / "out" / "validation.jsonl").unlink()
    with pytest.raises(DataError, match=r"validation.jsonl and test.jsonl in .* is not the file that was split"):
        open_split(tmp_path / "out")
    with pytest.raises(UsageError, match=r"holds no split.json"):
        open_split(tmp_path)


def test_a_folder_with_something_in_it_is_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    drawn = split(labelled())
    with pytest.raises(UsageError, match="not empty"):
        write_split(drawn, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"digests": {"test": "sha256:0"}}', '{"digests": 3}'])
def test_a_broken_certificate_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(DataError, match=r"split\.json is not a certificate"):
        open_split(tmp_path)


def test_rows_of_one_group_stay_in_one_part() -> None:
    records = [replace(record, fields={"customer": row % 60}) for row, record in enumerate(labelled())]
    drawn = split(records, SplitSpec(group_by="customer", test=0.2))
    customers = [{record.fields["customer"] for record in part} for part in drawn.parts().values()]
    assert len(set.union(*customers)) == sum(map(len, customers))
    assert crossings(drawn) == []
    assert drawn.certificate["groups"]["count"] == 60
    assert drawn.certificate["proof"]["groups_across_parts"] == 0
    assert "customer" in drawn.certificate["rule"]


TIMES = [float, lambda day: f"2024-01-01T00:{day:02}:00Z", lambda day: str(1e9 + day)]


@pytest.mark.parametrize("write", TIMES)
def test_parts_follow_each_other_in_time(write: Callable[[int], Any]) -> None:
    records = [
        Pair(text, "x", Origin("rows.jsonl", row + 1), {"at": write(row % 50)}) for row, text in enumerate(prompts())
    ]
    drawn = split(records, SplitSpec(time_by="at", validation=0.2, test=0.2))
    spans = list(drawn.certificate["times"].values())
    assert len(spans) == 3
    assert spans[0][1] < spans[1][0] <= spans[1][1] < spans[2][0]
    assert crossings(drawn) == []


def test_early_rows_that_recur_in_the_test_are_left_out_and_counted() -> None:
    texts = [*prompts(), prompts()[2].upper()]
    records = [Pair(text, "x", Origin("rows.jsonl", row + 1), {"at": row}) for row, text in enumerate(texts)]
    drawn = split(records, SplitSpec(time_by="at"))
    assert [record.origin.line for record in drawn.left_out] == [3]
    assert drawn.certificate["left_out"] == {"rows": 1, "first": ["rows.jsonl:3"]}
    assert sum(drawn.certificate["counts"].values()) == len(texts) - 1


def test_rows_without_the_named_field_are_named_all_at_once() -> None:
    records = [Pair(text, "x", Origin("rows.jsonl", row + 1), {"at": "soon"}) for row, text in enumerate(prompts())]
    with pytest.raises(DataError, match=r"64 of 64 .* by day:\nrows.jsonl:1: day: missing; .* at\n(.*\n)+… and 59"):
        split(records, SplitSpec(group_by="day"))
    with pytest.raises(DataError, match=r"rows.jsonl:1: at: .*isoformat"):
        split(records, SplitSpec(time_by="at"))
