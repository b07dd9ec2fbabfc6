"""Checking and splitting as verbs."""

from __future__ import annotations

from pathlib import Path

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.data.certificate import open_split
from outcrop.data.draw import SplitSpec
from outcrop.data.mapping import Mapping
from outcrop.workflows.check_data import check_data, split_data
from tests.data.corpus import ROWS, prompts, rows, write_jsonl


def test_split_parts_pass_the_check_against_each_other(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": text, "label": "x"} for text in prompts()])
    mapping = Mapping.from_text("prompt=text,completion=label", "Message: {prompt}\\nLabel:")
    events: list[dict[str, object]] = []
    result = split_data(data, tmp_path / "out", mapping, spec=SplitSpec(seed=3, test=0.2), listener=events.append)
    assert result.as_dict()["counts"] == {"train": 45, "validation": 6, "test": 13}
    assert result.as_dict()["folder"] == str(tmp_path / "out")
    assert [event["title"] for event in events] == ["Reading", f"Splitting {ROWS} rows"]
    paths = open_split(tmp_path / "out")
    report = check_data(paths["train"], against=[paths["validation"], paths["test"]])
    assert report.ok
    assert not report.problems.count("near-overlap")


def test_the_split_tells_warnings(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": text, "label": 1} for text in prompts()])
    result = split_data(data, tmp_path / "out", Mapping.from_text("prompt=text,completion=label"))
    assert [group["code"] for group in result.as_dict()["warnings"]] == ["number-as-label"]


def test_bad_rows_leave_nothing_behind(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [*rows("alpaca"), {"instruction": None, "output": "x"}])
    with pytest.raises(DataError, match=f":{ROWS + 1}"):
        split_data(data, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


def test_a_full_folder_is_only_replaced_if_asked(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", rows("alpaca"))
    split_data(data, tmp_path / "out")
    with pytest.raises(UsageError, match="not empty"):
        split_data(tmp_path / "missing.jsonl", tmp_path / "out")
    result = split_data(data, tmp_path / "out", spec=SplitSpec(seed=1), overwrite=True)
    assert open_split(tmp_path / "out")
    assert result.split.certificate["seed"] == 1
