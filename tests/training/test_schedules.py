"""The rate of each step, against values worked out by hand."""

from __future__ import annotations

import pytest

from outcrop.training.schedules import learning_rate


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("linear", 0, [4, 3, 2, 1]),
        ("linear", 2, [2, 4, 4, 2]),
        ("cosine", 0, [4, 3.414214, 2, 0.585786]),
        ("cosine", 1, [4, 4, 3, 1]),
        ("constant", 2, [2, 4, 4, 4]),
        ("linear", 4, [1, 2, 3, 4]),
    ],
)
def test_rates_of_four_steps(schedule: str, warmup: int, expected: list[float]) -> None:
    rates = [learning_rate(step, peak=4, warmup=warmup, total=4, schedule=schedule) for step in range(4)]
    assert rates == pytest.approx(expected, abs=1e-6)
