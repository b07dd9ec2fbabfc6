"""What a step computes is a pure function of the seed and its number."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from outcrop.training.batches import BatchPlan
from tests.support.documents import documents, rows
from tests.support.tiny import tiny_model
from tests.support.training import engine


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 5))
def test_an_epoch_is_every_row_once(count: int, batch_size: int, seed: int) -> None:
    plan = BatchPlan(count, batch_size, seed)
    for epoch in range(3):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        drawn = [plan.step(k) for k in steps]
        assert sorted(row for batch in drawn for row in batch) == list(range(count))
        assert {len(batch) for batch in drawn[:-1]} <= {batch_size}


@given(st.lists(st.integers(0, 40), min_size=1))
def test_any_order_of_asking_gives_the_same_rows(asked: list[int]) -> None:
    in_order = [BatchPlan(11, 4, 7).step(k) for k in range(41)]
    assert [BatchPlan(11, 4, 7).step(k) for k in asked] == [in_order[k] for k in asked]


def test_epochs_and_seeds_differ() -> None:
    first = [BatchPlan(100, 100, seed).step(epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in first}) == 4


@pytest.mark.parametrize("settings", [{"dropout": 0.3}, {"method": "lora", "lora_dropout": 0.3}], ids=str)
def test_dropout_is_that_of_the_step_whatever_came_before(settings: dict[str, object]) -> None:
    batch = rows(documents([9, 14, 30]))
    losses, training = [], engine(tiny_model(), **settings)
    for index in (5, 6, 5):
        torch.manual_seed(len(losses))
        training.optimizer.step(0.0)
        training.gradient(batch, index)
        losses.append(training.flat.grad.clone())
        training.flat.grad.zero_()
    assert torch.equal(losses[0], losses[2])
    assert not torch.equal(losses[0], losses[1])


def test_dropout_differs_between_equal_micro_batches() -> None:
    batch = rows(documents([20]) * 2)
    once, twice = (engine(tiny_model(), dropout=0.3, micro_batch_tokens=20) for _ in range(2))
    once.gradient(batch[:1], 0)
    twice.gradient(batch, 0)
    assert not torch.allclose(once.flat.grad, twice.flat.grad, rtol=0.1)
