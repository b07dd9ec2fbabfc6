"""How a batch is cut into micro-batches changes memory and not results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from outcrop.training.batches import BatchPlan, micro_batches
from outcrop.training.engine import StepResult, TrainingEngine
from outcrop.training.layout import Segment
from tests.support.documents import documents, rows
from tests.support.tiny import tiny_model
from tests.support.training import engine

LENGTHS = [9, 40, 14, 30, 12, 6, 6, 25, 33, 10, 17]
PLAN = BatchPlan(rows=len(LENGTHS), batch_size=4, seed=1)


def examples() -> list[tuple[Segment, ...]]:
    """Rows of unequal weight: a mean of means would show."""
    made = rows(documents(LENGTHS, prefix=4))
    return [(Segment(s.ids, s.weights * np.float32(1 + i % 3)),) for i, (s,) in enumerate(made)]


def run(training: TrainingEngine, steps: int = 6) -> list[StepResult]:
    """Two epochs, the last batch of each smaller than the others."""
    data = examples()
    return [training.step([data[row] for row in PLAN.step(k)], k, 3e-4) for k in range(steps)]


def test_the_last_batch_of_an_epoch_is_smaller_and_all_are_cut() -> None:
    data = examples()
    assert [len(PLAN.step(k)) for k in range(6)] == [4, 4, 3, 4, 4, 3]
    assert min(len(micro_batches([data[row] for row in PLAN.step(k)], 16)) for k in range(6)) >= 3


@pytest.mark.parametrize("settings", [{}, {"method": "lora"}, {"label_smoothing": 0.1}], ids=str)
def test_weights_after_two_epochs_are_the_same(settings: dict[str, Any]) -> None:
    whole, cut = (engine(tiny_model(), micro_batch_tokens=n, **settings) for n in (100_000, 16))
    for one, other in zip(run(whole), run(cut), strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-5)
    assert (whole.flat.master - cut.flat.master).abs().max() <= 1e-6
    start = engine(tiny_model(), **settings).flat.master
    assert (whole.flat.master - start).abs().max() > 1e-3


def test_gradients_of_micro_batches_add_up_in_fp32_in_bf16_too() -> None:
    """Sixteen equal gradients: a bf16 sum would stop growing or round; the fp32 sum is exact."""
    batch = rows(documents([40]) * 16)
    one, many = (engine(tiny_model(), torch.bfloat16, micro_batch_tokens=n) for n in (40, 40))
    one.gradient(batch[:1], 0)
    expected = one.flat.grad.float()
    many.gradient(batch, 0)
    assert many.optimizer.sum is not None
    assert many.optimizer.sum.dtype == torch.float32
    assert torch.allclose(many.optimizer.sum, expected, rtol=2**-7, atol=1e-6)
    assert not many.flat.grad.any()
