"""The customization job itself: interrupted it goes on, bad data are told in terms of URIs, nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Event, StopRequested, ignore
from outcrop.workflows.customize import PUBLISHING, customize
from outcrop.workflows.job import perform

JOB_ID = "abcdefghijkl"


def _arguments(tmp_path: Path, base: str, rows: list[dict[str, str]]) -> dict[str, Any]:
    bucket = tmp_path / "buckets" / "data"
    bucket.mkdir(parents=True, exist_ok=True)
    (bucket / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "base": base, "to": str(tmp_path / "model"), "kind": "tune", "training": "s3://data/rows.jsonl",
        "output": "s3://data/out", "places": {"buckets": str(tmp_path / "buckets")},
        "settings": {"epochs": 1, "batch_size": 8, "learning_rate": 0.001},
    }  # fmt: skip


def _rows() -> list[dict[str, str]]:
    words = ["my", "card", "has", "not", "arrived", "yet", "and", "the", "money", "is", "late", "again", "today"]
    prompts = [f"{words[n % 13]} {words[n * 5 % 13]} {n}" for n in range(40)]
    return [{"prompt": prompt, "completion": "card" if n % 2 else "fee"} for n, prompt in enumerate(prompts)]


def test_a_job_killed_before_its_results_were_written_trains_only_once(tmp_path: Path, base: str) -> None:
    arguments, stages = _arguments(tmp_path, base, _rows()), []

    def killed(event: Event) -> None:
        if event.get("title") == PUBLISHING:
            raise StopRequested

    def noted(event: Event) -> None:
        stages.append(event.get("title"))

    with pytest.raises(StopRequested):
        perform("customize", arguments, JOB_ID, killed)
    assert not (tmp_path / "model").exists()
    result = perform("customize", arguments, JOB_ID, noted).as_dict()
    assert "Training" not in stages
    assert PUBLISHING in stages
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert not (tmp_path / "model.work").exists()
    assert (tmp_path / "buckets" / "data" / "out" / "model" / "model.safetensors").exists()
    assert perform("customize", arguments, JOB_ID, ignore)["training_loss"] == result["training_loss"]


def test_bad_rows_are_named_by_their_uri(tmp_path: Path, base: str) -> None:
    arguments = _arguments(tmp_path, base, [*_rows(), {"prompt": "x"}])
    with pytest.raises(DataError) as error:
        customize(**arguments)
    assert "s3://data/rows.jsonl:41" in error.value.message
    assert str(tmp_path) not in json.dumps(error.value.as_dict())
    report = json.loads((tmp_path / "buckets" / "data" / "out" / "validation_report.json").read_text())
    assert report["problems"][0]["lines"] == {"s3://data/rows.jsonl": [41]}


def test_data_that_vanished_are_an_error_of_the_request(tmp_path: Path, base: str) -> None:
    arguments = _arguments(tmp_path, base, _rows()) | {"training": "s3://data/gone.jsonl"}
    with pytest.raises(UsageError, match=r"nothing at s3://data/gone\.jsonl"):
        customize(**arguments)
