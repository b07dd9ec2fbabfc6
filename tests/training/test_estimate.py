"""Timing steps changes nothing that training depends on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from outcrop.training.batches import BatchPlan
from outcrop.training.estimate import Estimate, measure, peak_memory_gb
from tests.support.documents import documents, rows
from tests.support.tiny import tiny_model
from tests.support.training import engine

EXAMPLES = rows(documents([9, 14, 30, 12, 20, 8, 8], prefix=4))
PLAN = BatchPlan(len(EXAMPLES), 2, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "settings",
    [{}, {"method": "lora", "lora_dropout": 0.2}, {"dropout": 0.2, "weight_decay": 1.0, "micro_batch_tokens": 16}],
    ids=str,
)
def test_weights_and_optimizer_stay_bit_for_bit(settings: dict[str, Any], dtype: torch.dtype) -> None:
    measured, untouched = (engine(tiny_model(), dtype, **settings) for _ in range(2))
    measure(measured, PLAN, EXAMPLES, 0.0)
    for training in (measured, untouched):
        assert not training.flat.grad.any()
    assert all(torch.equal(measured.state()[name], value) for name, value in untouched.state().items())
    assert torch.equal(measured.flat.compute, untouched.flat.compute)
    for index in range(3):
        batch = [EXAMPLES[row] for row in PLAN.step(index)]
        assert measured.step(batch, index, 1e-2) == untouched.step(batch, index, 1e-2)
    assert torch.equal(measured.flat.master, untouched.flat.master)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_steps_are_timed_across_the_epoch(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    training = engine(tiny_model())
    plan = BatchPlan(len(EXAMPLES), batch_size, 0)
    asked: list[int] = []
    monkeypatch.setattr(BatchPlan, "step", lambda self, k: asked.append(k) or [0])
    found = measure(training, plan, EXAMPLES, 1.5)
    assert asked[0] == 0
    assert asked[-1] == plan.steps_per_epoch - 1
    assert len(asked) == min(6, plan.steps_per_epoch)
    assert 0 < found.step_seconds < 5
    assert found.evaluation_seconds == 1.5
    assert found.loss == pytest.approx(engine(tiny_model()).step(EXAMPLES[:1], 0, 0.0).loss)


def test_minutes() -> None:
    assert Estimate(step_seconds=0.5, evaluation_seconds=3.0, peak_memory_gb=1.0, loss=2.0).minutes(60, 10) == 1.0


def test_peak_memory_is_this_processes() -> None:
    assert 0.05 < peak_memory_gb() < 64
