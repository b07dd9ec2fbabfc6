"""fp32 master weights: bf16 computes fast, and loses nothing that adds up over steps."""

from __future__ import annotations

import torch

from outcrop.training.engine import TrainingEngine
from tests.support.documents import documents, rows
from tests.support.tiny import tiny_model
from tests.support.training import engine

BATCH = rows(documents([9, 40, 14, 30, 12], prefix=5))


def losses(training: TrainingEngine, steps: int, rate: float) -> list[float]:
    return [training.step(BATCH, index, rate).loss for index in range(steps)]


def test_the_loss_curve_in_bf16_is_that_in_fp32_within_two_percent() -> None:
    exact, rounded = (losses(engine(tiny_model(), dtype), 30, 3e-3) for dtype in (torch.float32, torch.bfloat16))
    assert exact[-1] < exact[0] / 3
    assert max(abs(a - b) for a, b in zip(exact, rounded, strict=True)) < 0.02 * exact[0]


def test_updates_smaller_than_bf16_can_add_are_kept() -> None:
    """At a rate of 1e-5 no update moves a weight over 0.1 by half a bf16 step (2^-13); thirty of them do."""
    training = engine(tiny_model(), torch.bfloat16, weight_decay=0.0, clip_norm=0.0)
    start = training.flat.compute.clone()
    large = start.abs() > 0.1
    lost = moved_in_bf16 = 0.0
    for index in range(60):
        before = training.flat.master.clone()
        training.step(BATCH, index, 1e-5)
        update = training.flat.master - before
        moved_in_bf16 += float(((start + update.bfloat16()) != start)[large].float().mean())
        lost += float(update[large].abs().mean())
    assert lost > 1e-4
    assert moved_in_bf16 == 0
    assert (training.flat.compute != start)[large].float().mean() > 0.1


def test_the_model_computes_with_the_rounded_master() -> None:
    training = engine(tiny_model(), torch.bfloat16)
    losses(training, 3, 1e-3)
    for name, slot in training.flat.slots.items():
        parameter = training.model.get_parameter(name)
        assert parameter.dtype == torch.bfloat16
        assert torch.equal(parameter, slot.of(training.flat.master).bfloat16())
