"""Checkpoints: whole or not there. Damage is tested with real runs in tests/invariants/test_resume.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from outcrop.core.errors import JobFailed
from outcrop.training.checkpoints import BestWeights, Checkpoint, newest, save


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"master": torch.arange(4.0) + step, "steps": torch.ones(1)}, {"loss": 0.1, "none": None})


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    save(tmp_path, checkpoint(3))
    found, damaged = newest(tmp_path)
    assert found is not None
    assert (found.step, found.state, damaged) == (3, checkpoint(3).state, [])
    assert all(torch.equal(tensor, checkpoint(3).tensors[name]) for name, tensor in found.tensors.items())


def test_the_newest_two_are_kept_by_number(tmp_path: Path) -> None:
    for step in (9, 10, 100_000_000):
        save(tmp_path, checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-100000000"]
    found, _ = newest(tmp_path)
    assert found is not None
    assert found.step == 100_000_000


def test_saving_a_step_again_replaces_it_and_leftovers(tmp_path: Path) -> None:
    save(tmp_path, checkpoint(3))
    (tmp_path / ".step-00000003.partial").mkdir()
    (tmp_path / ".step-00000003.partial" / "state.json").write_text("half")
    save(tmp_path, Checkpoint(3, {"master": torch.zeros(1)}, {"second": True}))
    found, _ = newest(tmp_path)
    assert found is not None
    assert found.state == {"second": True}
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_views_of_one_buffer_are_saved_apart(tmp_path: Path) -> None:
    flat = torch.arange(10.0)
    save(tmp_path, Checkpoint(1, {"one": flat[:4], "two": flat[4:], "strided": flat[::2]}, {}))
    found, _ = newest(tmp_path)
    assert found is not None
    assert found.tensors["two"].tolist() == [4, 5, 6, 7, 8, 9]
    assert found.tensors["strided"].tolist() == [0, 2, 4, 6, 8]


def test_nothing_there(tmp_path: Path) -> None:
    assert newest(tmp_path / "absent") == (None, [])


def test_best_weights(tmp_path: Path) -> None:
    best = BestWeights(tmp_path)
    best.keep(5, torch.ones(3))
    best.keep(9, torch.zeros(3))
    assert best.load(5).tolist() == [1, 1, 1]
    best.forget_others(9)
    assert best.load(9).tolist() == [0, 0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["best-00000009.safetensors"]
    with pytest.raises(JobFailed, match="best-00000005"):
        best.load(5)
