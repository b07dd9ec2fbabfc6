"""Ray Data makes the same bytes as the local pool, and errors of the user arrive as they were raised."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import pytest

from outcrop.core.errors import DataError, MissingDependency
from outcrop.data.pipeline import blocks
from outcrop.data.pipeline.ray_pool import _perform
from outcrop.workflows.prepare import prepare
from tests.data.corpus import rows, write_jsonl

WITHOUT_RAY = importlib.util.find_spec("ray") is None
needs_ray = pytest.mark.skipif(WITHOUT_RAY, reason="ray is not installed: pip install 'outcrop[ray]'")


def doubled(number: int) -> int:
    if number < 0:
        raise DataError("A number below 0.", "Give another.", "row 1")
    return 2 * number


def test_a_task_and_an_error_of_the_user_survive_the_journey() -> None:
    done = _perform({"task": pickle.dumps((doubled, 4))})
    refused = pickle.loads(_perform({"task": pickle.dumps((doubled, -1))})["result"])
    assert pickle.loads(done["result"]) == 8
    assert isinstance(refused, DataError)
    assert str(refused) == "row 1: A number below 0. Give another."


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_ray_makes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 7)
    source = write_jsonl(tmp_path / "rows.jsonl", rows("prompt-completion"))
    prepare(source, tmp_path / "local", workers=1)
    prepare(source, tmp_path / "ray", workers=2, runner="ray")
    for path in (tmp_path / "local").iterdir():
        assert (tmp_path / "ray" / path.name).read_bytes() == path.read_bytes()
    settings = {"filter": {"keep_if": ['fields["absent"] > 1']}}
    with pytest.raises(DataError, match=r"rows\.jsonl:1: "):
        prepare(source, tmp_path / "refused", steps=["filter"], settings=settings, workers=2, runner="ray")


@pytest.mark.skipif(not WITHOUT_RAY, reason="ray is installed")
def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows("prompt-completion"))
    with pytest.raises(MissingDependency, match="ray"):
        prepare(source, tmp_path / "out", runner="ray")
    assert not (tmp_path / "out.partial").exists()
