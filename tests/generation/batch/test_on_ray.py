"""Ray Data gives the answers of one process, where Ray is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.core.engines import ModelRef
from outcrop.core.errors import MissingDependency, ModelError, OutcropError
from outcrop.generation.batch.on_ray import Worker, answered
from outcrop.generation.batch.requests import asked_text, packed, request_from
from outcrop.generation.batch.running import AnsweringSpec
from outcrop.models.folder import find_model
from tests.models.folders import write_model
from tests.support.batches import run, write_rows

WITHOUT_RAY = importlib.util.find_spec("ray") is None
RESULT = "rows.jsonl.answers.jsonl"


@pytest.mark.skipif(WITHOUT_RAY, reason="ray is not installed: pip install 'outcrop[ray]'")
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_workers_give_the_answers_of_one_process(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    words = ["the card", "a fee", "my money " * 400, "the card"] + [f"row {number}" for number in range(20)]
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": word} for word in words])
    run(model, rows, tmp_path / "local", cache=None)
    result = run(model, rows, tmp_path / "ray", cache=None, runner="ray", workers=2)
    assert (tmp_path / "ray" / RESULT).read_bytes() == (tmp_path / "local" / RESULT).read_bytes()
    assert (result.succeeded, result.failed, result.computed) == (23, 1, 22)


@pytest.mark.skipif(not WITHOUT_RAY, reason="ray is installed")
def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": "x"}])
    with pytest.raises(MissingDependency, match=r"outcrop\[ray\]"):
        run(write_model(tmp_path / "model"), rows, tmp_path / "out", runner="ray")
    assert not (tmp_path / "out.partial").exists()


def test_an_unknown_runner_is_refused(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": "x"}])
    with pytest.raises(OutcropError, match="Unknown runner: rai"):
        run(write_model(tmp_path / "model"), rows, tmp_path / "out", runner="rai")


def test_a_worker_answers_blocks_and_refuses_other_weights(tmp_path: Path) -> None:
    name = str(write_model(tmp_path / "model"))
    spec = AnsweringSpec(ModelRef(name, "float32"), find_model(name).digest(), 100)
    asked = [CompletionRequest((5, 6), Sampling(max_new_tokens=2)), CompletionRequest((7,) * 400)]
    block = {
        "key": [b"one", b"two"], "tokens": [packed(each.prompt_ids) for each in asked],
        "asked": [asked_text(each) for each in asked],
    }  # fmt: skip
    done = Worker(spec, 1)(block)
    assert sorted(done["key"]) == [b"one", b"two"]
    texts = dict(zip(done["key"], done["answer"], strict=True))
    assert "completions" in texts[b"one"]
    assert "refusal" in texts[b"two"]
    assert request_from(block["tokens"][0], block["asked"][0]) == asked[0]
    for wrong in (spec._replace(digest="sha256:other"), spec._replace(model=ModelRef("/nowhere", "float32"))):
        with pytest.raises(ModelError, match=r"On this machine the model's digest is|no model folder"):
            answered(Worker(wrong, 1)(block))
