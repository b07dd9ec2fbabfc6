"""Bounds on a loss: against published values, by coverage, and at the ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from outcrop.core.errors import UsageError
from outcrop.core.statistics import (
    non_inferiority,
    non_inferiority_of_sums,
    ratio_of_medians,
    rows_to_show,
    tango_upper,
)


def scores(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    kinds = [(1, 1)] * both + [(1, 0)] * only_first + [(0, 1)] * only_second + [(0, 0)] * neither
    return np.array([k[0] for k in kinds], float), np.array([k[1] for k in kinds], float)


@pytest.mark.parametrize(("only_first", "only_second", "n"), [(1, 0, 44), (12, 5, 200), (3, 9, 60)])
def test_tango_is_the_score_bound(only_first: int, only_second: int, n: int) -> None:
    """At the bound the score statistic is −1.645, its variance from the likelihood maximised under that difference."""
    bound = tango_upper(only_first, only_second, n)
    low = max(0.0, -bound)

    def minus_log_likelihood(second: float) -> float:
        first = second + bound
        same = 1 - first - second
        terms = ((only_first, first), (only_second, second), (n - only_first - only_second, same))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in terms if count)

    found = minimize_scalar(
        minus_log_likelihood, bounds=(low, (1 - bound) / 2), method="bounded", options={"xatol": 1e-12}
    ).x
    variance = n * (2 * found + bound - bound**2)
    assert (only_first - only_second - n * bound) / math.sqrt(variance) == pytest.approx(-1.6449, abs=2e-3)


def test_the_bound_solves_its_equation_at_the_ends() -> None:
    z = 1.6448536
    none = tango_upper(0, 0, 100)
    assert none == pytest.approx(z * z / (100 + z * z), abs=1e-6)  # as Wilson's bound of 0 of 100
    assert tango_upper(5, 0, 5) == pytest.approx(1.0, abs=1e-6)
    assert tango_upper(0, 7, 100) < 0.0


def test_the_bound_covers_in_95_of_100_samples() -> None:
    generator = np.random.default_rng(0)
    shares = [0.85, 0.06, 0.03, 0.06]
    drawn = generator.multinomial(400, shares, size=3000)
    covered = np.mean([tango_upper(int(b), int(c), 400) >= 0.03 for _, b, c, _ in drawn])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_a_loss_below_the_margin_is_shown_with_enough_rows() -> None:
    few, many = (non_inferiority(*scores(9 * n, n // 5, n // 5, n // 2), 0.02) for n in (10, 200))
    assert few.loss == many.loss == 0
    assert not few.shown
    assert many.shown
    assert few.rows_needed is not None
    assert few.n < few.rows_needed < many.n
    assert "Tango" in many.method


def test_no_number_of_rows_shows_what_is_not_so() -> None:
    found = non_inferiority(*scores(80, 10, 0, 10), 0.02)
    assert not found.shown
    assert found.rows_needed is None


def test_rows_needed_give_the_power() -> None:
    """Normal approximation: the bound of a sample of that size is below the margin with probability 0.8."""
    needed = rows_to_show(0.005, 0.05, 0.02)
    assert needed is not None
    z = (0.02 - 0.005) / math.sqrt((0.05 - 0.005**2) / needed)
    assert z == pytest.approx(1.6449 + 0.8416, abs=0.01)


def test_other_scores_use_the_bootstrap() -> None:
    generator = np.random.default_rng(1)
    first = generator.random(300)
    second = first - 0.01 + 0.05 * generator.standard_normal(300)
    found = non_inferiority(first, second, 0.03)
    expected = found.loss + 1.645 * float((first - second).std()) / math.sqrt(300)
    assert found.bound == pytest.approx(expected, abs=1e-3)
    assert found.shown
    assert "bootstrap" in found.method
    assert non_inferiority(first[:1], second[:1], 0.03).bound == math.inf


def test_unequal_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="same rows"):
        non_inferiority(np.ones(2), np.ones(3), 0.02)


def test_ratio_of_medians() -> None:
    found = ratio_of_medians(np.array([10.0, 12.0, 11.0] * 9), np.array([2.0, 2.2, 2.1] * 9))
    assert found.value == pytest.approx(11 / 2.1)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


def test_of_sums_equals_that_of_means_where_they_are_means() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.random(300), generator.random(300)
    sums = [np.stack([scores, np.ones_like(scores)], axis=1) for scores in (first, second)]
    found = non_inferiority_of_sums(*((rows, lambda s: s[..., 0] / s[..., 1]) for rows in sums), 0.1)
    expected = non_inferiority(first, second, 0.1)
    assert found.loss == pytest.approx(expected.loss)
    assert found.bound == pytest.approx(expected.bound, abs=0.003)
    assert found.rows_needed == pytest.approx(expected.rows_needed, rel=0.05)


def test_of_sums_of_one_row_shows_nothing() -> None:
    row = (np.array([[1.0, 1.0]]), lambda s: s[..., 0] / s[..., 1])
    found = non_inferiority_of_sums(row, row, 0.1)
    assert not found.shown
    assert found.rows_needed is None


def test_rows_that_hardly_differ_prove_little() -> None:
    """A bootstrap of equal answers has no spread; the bound is that of as many right and wrong ones."""
    equal = np.full(40, 0.5)
    rows = np.stack([equal, np.ones(40)], axis=1)
    of_sums = non_inferiority_of_sums(*[(rows, lambda s: s[..., 0] / s[..., 1])] * 2, 0.02)
    for found in (non_inferiority(equal, equal, 0.02), of_sums):
        assert found.bound == pytest.approx(tango_upper(0, 0, 40))
        assert not found.shown
        assert found.rows_needed is not None
        assert found.rows_needed > 40
    better = equal.copy()
    better[0] = 1.0
    assert non_inferiority(equal, better, 0.02).bound > 0
