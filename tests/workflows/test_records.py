"""Files to records: what is refused, and what dropping bad rows may not hide."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.errors import DataError
from outcrop.core.events import ignore
from outcrop.data.records import Origin, Text
from outcrop.models.rendering import Renderer
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.parts import gather_parts
from outcrop.workflows.records import Source, read_rows, renderable
from outcrop.workflows.test_set import gather_test_set
from tests.support.tiny import tiny_tokenizer

ROWS = "".join(f'{{"prompt": "question {n}", "completion": "answer {n}"}}\n' for n in range(200))


@pytest.mark.parametrize("drop", [False, True])
def test_a_file_cut_off_is_refused_although_its_first_rows_are_whole(tmp_path: Path, drop: bool) -> None:
    packed = gzip.compress(ROWS.encode(), mtime=0)
    (tmp_path / "rows.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="broken-compression"):
        read_rows(Source((str(tmp_path / "rows.jsonl.gz"),), drop_bad_rows=drop), ignore)


def test_an_empty_file_beside_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="empty-file"):
        read_rows(Source((str(tmp_path / "rows.jsonl"), str(tmp_path / "empty.jsonl"))), ignore)


def test_bad_rows_are_dropped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(ROWS + '{"prompt": "", "completion": "x"}\n')
    events: list[dict[str, Any]] = []
    rows = read_rows(Source((str(tmp_path / "rows.jsonl"),), drop_bad_rows=True), events.append)
    assert (len(rows.records), rows.dropped) == (200, 1)
    assert events[0]["message"].startswith("1 rows")


def test_synthetic_test_rows_are_refused_by_tune_and_evaluate(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(ROWS)
    test = tmp_path / "given.jsonl"
    test.write_text(ROWS + '{"prompt": "made", "completion": "x", "synthetic": {"how": "paraphrase"}}\n')
    source = Source((str(tmp_path / "rows.jsonl"),))
    message = r"1 of 201 test rows are marked as synthetic, the first at .*given\.jsonl:201"
    with pytest.raises(DataError, match=message):
        gather_parts(source, [], [str(test)], TrainingSpec(), ignore)
    with pytest.raises(DataError, match=message):
        gather_test_set(source.at([str(test)]), [], None, ignore, stored=source)


def test_a_part_of_which_nothing_is_left_is_refused_although_rows_may_be_dropped() -> None:
    parts = {"training": [Text("clean", Origin("a.txt", 1))], "validation": [Text("an <unk>", Origin("b.txt", 1))]}
    with pytest.raises(DataError, match=r"No validation rows are left.*b\.txt:1"):
        renderable([Renderer(tiny_tokenizer())], parts, ignore, drop=True)
