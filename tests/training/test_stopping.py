"""When training stops and which weights are best: the rules and the example of docs/early-stopping.md."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.training.stopping import WINDOW, DivergenceWatch, EarlyStopping, overfitting

PAGE = Path(__file__).parents[2] / "docs" / "early-stopping.md"


def test_the_example_of_the_page() -> None:
    rows = re.findall(r"^\| (\d) \| ([\d.]+) \| (\d) \| (yes|no) \| (\d) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 6
    stopping = EarlyStopping(threshold=0.01, patience=2, higher_is_better=False)
    for number, loss, best, counts, waited in rows:
        assert not stopping.exhausted
        stopping.update(int(number), float(loss))
        assert stopping.best_step == int(best)
        assert stopping.waited == int(waited)
        assert (stopping.waited == 0) == (counts == "yes")
    assert stopping.exhausted


def test_the_same_with_a_metric() -> None:
    stopping = EarlyStopping(threshold=0.01, patience=2, higher_is_better=True)
    values = [0.5, 0.7, 0.705, 0.72, 0.725, 0.6]
    assert [stopping.update(step, value) for step, value in enumerate(values)] == [True] * 5 + [False]
    assert (stopping.best, stopping.best_step, stopping.exhausted) == (0.725, 4, True)


def test_an_improvement_of_exactly_the_threshold_counts() -> None:
    stopping = EarlyStopping(threshold=0.25, patience=3, higher_is_better=False)
    stopping.update(0, 1.0)
    stopping.update(1, 0.75)
    assert stopping.waited == 0


def test_no_change_is_no_improvement_even_without_a_threshold() -> None:
    stopping = EarlyStopping(threshold=0.0, patience=1, higher_is_better=True)
    assert stopping.update(0, 0.9)
    assert not stopping.update(1, 0.9)
    assert stopping.best_step == 0
    assert stopping.exhausted


def test_what_is_not_a_number_is_never_best() -> None:
    stopping = EarlyStopping(threshold=0.0, patience=2, higher_is_better=False)
    assert not stopping.update(0, math.nan)
    assert stopping.update(1, 5.0)
    assert not stopping.update(2, math.nan)
    assert (stopping.best, stopping.waited) == (5.0, 1)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.booleans(), st.integers(0, 20))
def test_the_best_is_the_best_and_state_goes_through_json(values: list[float], higher: bool, cut: int) -> None:
    whole, first = (EarlyStopping(0.01, 3, higher) for _ in range(2))
    for step, value in enumerate(values):
        whole.update(step, value)
    assert whole.best == (max if higher else min)(values)
    assert whole.best_step == values.index(whole.best)
    for step, value in list(enumerate(values))[:cut]:
        first.update(step, value)
    second = EarlyStopping(0.01, 3, higher)
    second.restore(json.loads(json.dumps(first.state())))
    for step, value in list(enumerate(values))[cut:]:
        second.update(step, value)
    assert second == whole


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_a_loss_or_gradient_that_is_no_number_is_noticed_at_once(loss: float, norm: float) -> None:
    watch = DivergenceWatch()
    assert watch.check(2.0, 1.0) is None
    assert "no longer a number" in str(watch.check(loss, norm))


def test_ten_times_the_perplexity_for_a_whole_window_is_an_explosion() -> None:
    watch = DivergenceWatch()
    assert watch.check(2.0, 1.0) is None
    assert [watch.check(4.31, 1.0) for _ in range(WINDOW - 1)] == [None] * (WINDOW - 1)
    assert "over ten times that at the start for 20 steps (loss 2)" in str(watch.check(4.31, 1.0))


def test_spikes_are_no_explosion() -> None:
    watch = DivergenceWatch()
    losses = [2.0] + [100.0] * (WINDOW - 1) + [4.3] + [100.0] * (WINDOW - 1)
    assert {watch.check(loss, 1.0) for loss in losses} == {None}


def test_a_first_row_that_was_easy_is_not_where_the_model_started() -> None:
    watch = DivergenceWatch(start=1.5)
    assert {watch.check(loss, 1.0) for loss in [0.01] + [3.5] * 40} == {None}
    assert watch.start == 1.5


def test_the_watch_goes_on_after_a_checkpoint() -> None:
    first, second = DivergenceWatch(), DivergenceWatch()
    for loss in [1.0] + [9.0] * (WINDOW - 1):
        first.check(loss, 1.0)
    second.restore(json.loads(json.dumps(first.state())))
    assert second.check(9.0, 1.0) is not None


@pytest.mark.parametrize(
    ("history", "found"),
    [
        ([(3.0, 3.0), (2.0, 2.0), (1.0, 2.1), (0.5, 2.2)], True),
        ([(3.0, 3.0), (2.0, 2.0), (1.0, 2.2)], False),  # once is noise
        ([(3.0, 3.0), (2.0, 2.0), (1.0, 2.03), (0.5, 2.03)], False),  # by less than 2 %
        ([(3.0, 3.0), (2.0, 2.0), (2.1, 2.1), (2.2, 2.2)], False),  # training loss rises too: something else
        ([(3.0, 3.0), (2.0, 2.5), (1.0, 2.0), (0.5, 1.5)], False),
        ([(2.0, 2.0), (1.0, 3.0)], False),
        ([], False),
    ],
)
def test_overfitting(history: list[tuple[float, float]], found: bool) -> None:
    assert overfitting(history) == found


def test_loss_decides_while_the_metric_stands_still():
    stopping = EarlyStopping(0.01, 2, higher_is_better=True)
    assert stopping.update(0, 0.0, 9.0)
    assert stopping.update(1, 0.0, 2.0)
    assert stopping.waited == 0
    assert stopping.update(2, 0.0, 1.999)
    assert stopping.waited == 1
    assert stopping.update(3, 0.5, 3.0)
    assert not stopping.update(4, 0.5, 3.5)
    assert (stopping.best_step, stopping.waited) == (3, 1)
