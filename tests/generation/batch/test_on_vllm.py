"""vLLM, or its client on a stand-in, as the runner of a job: the answers of this process, kept apart from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outcrop.core.errors import UsageError
from tests.generation.serving_engines import SHAPE, VLLM_KINDS, name_vllm
from tests.models.folders import write_model
from tests.support.batches import run, write_rows

RESULT = "rows.jsonl.answers.jsonl"


@pytest.fixture(params=VLLM_KINDS)
def vllm(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name_vllm(request.param, tmp_path, monkeypatch)


@pytest.mark.usefixtures("vllm")
def test_it_gives_the_answers_of_this_process(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", **SHAPE)
    words = ["the card", "a fee", "my money " * 400, "the card"] + [f"row {number}" for number in range(20)]
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": word} for word in words])
    run(model, rows, tmp_path / "local", cache=None)
    result = run(model, rows, tmp_path / "vllm", cache=None, runner="vllm")
    assert (result.succeeded, result.failed, result.computed) == (23, 1, 22)
    assert result.generated_tokens > 0
    assert texts(tmp_path / "vllm" / RESULT) == texts(tmp_path / "local" / RESULT)


@pytest.mark.usefixtures("vllm")
def test_answers_of_one_engine_are_not_given_for_those_of_another(tmp_path: Path) -> None:
    model, cache = write_model(tmp_path / "model", **SHAPE), str(tmp_path / "predictions.sqlite")
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": "the card"}])
    computed = [
        run(model, rows, tmp_path / f"out{number}", cache=cache, runner=runner).computed
        for number, runner in enumerate(("local", "vllm", "vllm"))
    ]
    assert computed == [1, 1, 0]


def test_without_an_environment_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTCROP_VLLM_PYTHON", raising=False)
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": "x"}])
    with pytest.raises(UsageError, match="none is named"):
        run(write_model(tmp_path / "model"), rows, tmp_path / "out", runner="vllm")
    assert not (tmp_path / "out").exists()


def texts(path: Path) -> list[str | None]:
    return [json.loads(line).get("answer") for line in path.read_text("utf-8").splitlines()]
