"""Intervals and tests against published tables, hand computations and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from outcrop.core.errors import UsageError
from outcrop.core.statistics import (
    ONE_ROW,
    bootstrap,
    detectable_from_error,
    holm,
    mcnemar,
    minimum_detectable_difference,
    paired_bootstrap,
    resample,
    wilson,
)
from outcrop.evaluation.metrics.metric import Sums, ratio


def mean_of(values: list[float] | np.ndarray) -> Sums:
    scores = np.asarray(values, dtype=float)
    return Sums(np.stack([scores, np.ones_like(scores)], axis=1), ratio)


@pytest.mark.parametrize(
    ("n", "low", "high"),
    [(100, 82.6, 94.5), (200, 85.1, 93.4), (500, 87.1, 92.3), (1000, 88.0, 91.7), (2000, 88.6, 91.2)],
)
def test_wilson_at_90_percent(n: int, low: float, high: float) -> None:
    found = wilson(0.9 * n, n)
    assert (round(100 * found.low, 1), round(100 * found.high, 1)) == (low, high)
    assert (found.value, found.n, found.method) == (0.9, n, "Wilson")


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy_and_holds_its_share(case: tuple[int, int]) -> None:
    successes, n = case
    found = wilson(successes, n)
    expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(("disagreement", "expected"), [
    (0.05, [6.0, 4.3, 2.8, 2.0, 1.4, 0.9]),
    (0.10, [8.5, 6.1, 3.9, 2.8, 2.0, 1.3]),
    (0.20, [12.1, 8.7, 5.6, 3.9, 2.8, 1.8]),
    (0.30, [14.8, 10.6, 6.8, 4.8, 3.4, 2.2]),
])
def test_minimum_detectable_difference_table(disagreement: float, expected: list[float]) -> None:
    found = [minimum_detectable_difference(disagreement, n) for n in (100, 200, 500, 1000, 2000, 5000)]
    assert [round(100 * value, 1) for value in found] == expected


def test_minimum_detectable_difference_solves_its_equation() -> None:
    d = minimum_detectable_difference(0.2, 300)
    assert d == pytest.approx((1.959964 + 0.841621) * math.sqrt((0.2 - d * d) / 300), rel=1e-6)
    assert detectable_from_error(0.01) == pytest.approx(0.02801585, rel=1e-6)


def test_minimum_detectable_difference_without_disagreement_is_not_zero() -> None:
    assert minimum_detectable_difference(0, 100) == minimum_detectable_difference(0.03, 100) > 0


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 5), (5, 0), (10, 10), (121, 59), (3, 12)])
def test_mcnemar_equals_the_binomial_sum(first: int, second: int) -> None:
    n = first + second
    expected = min(1.0, 2 * float(binom.cdf(min(first, second), n, 0.5))) if n else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(1, 5) == pytest.approx(2 * 7 / 64)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_and_keeps_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_bootstrap_of_a_mean_is_near_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    rows, value = mean_of(values)
    found = bootstrap(rows, value)
    mean, half = values.mean(), 1.96 * values.std() / 20
    assert found.value == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half), abs=0.02)
    assert (found.n, found.method) == (400, "bootstrap, 10,000 resamples")


def test_bootstrap_of_a_share_has_binomial_quantiles() -> None:
    rows, value = mean_of([1.0] * 90 + [0.0] * 10)
    drawn = resample(rows, value, 0, 10_000)
    assert drawn.mean() == pytest.approx(0.9, abs=0.002)
    assert drawn.std() == pytest.approx(math.sqrt(0.09 / 100), rel=0.03)


def test_bootstrap_depends_on_the_seed_alone() -> None:
    rows, value = mean_of(np.random.default_rng(1).random(50))
    assert bootstrap(rows, value, seed=4) == bootstrap(rows, value, seed=4)
    assert bootstrap(rows, value, seed=4) != bootstrap(rows, value, seed=5)
    turned, found = bootstrap(rows[::-1], value, seed=4), bootstrap(rows, value, seed=4)
    assert (turned.low, turned.high) == (found.low, found.high)


def test_bootstrap_corrects_median_bias() -> None:
    """The variance of a sample is biased low, and so are its resamples: the interval has to move up."""
    values = np.random.default_rng(2).normal(size=30)
    rows = np.stack([values, values**2, np.ones(30)], axis=1)

    def variance(sums: np.ndarray) -> np.ndarray:
        return sums[..., 1] / sums[..., 2] - (sums[..., 0] / sums[..., 2]) ** 2

    found = bootstrap(rows, variance)
    plain = np.quantile(resample(rows, variance, 0, 10_000), [0.025, 0.975])
    assert found.low > plain[0]
    assert found.high > plain[1]


def test_large_sets_are_resampled_less_and_say_so() -> None:
    rows, value = mean_of(np.random.default_rng(3).random(8_000))
    assert bootstrap(rows, value, resamples=10_000).method == "bootstrap, 2,500 resamples"


def test_paired_bootstrap_is_tighter_than_two_intervals() -> None:
    base = np.random.default_rng(4).random(300)
    found = paired_bootstrap(mean_of(base), mean_of(base + np.random.default_rng(5).normal(0.05, 0.1, 300)))
    alone = bootstrap(*mean_of(base))
    assert found.difference.low > 0.03
    assert found.difference.high - found.difference.low < (alone.high - alone.low) / 2
    assert found.p < 0.001
    assert found.standard_error == pytest.approx(0.1 / math.sqrt(300), rel=0.2)


def test_paired_bootstrap_of_equal_systems() -> None:
    scores = mean_of(np.random.default_rng(6).random(40))
    found = paired_bootstrap(scores, scores)
    assert (found.difference.value, found.difference.low, found.difference.high, found.p) == (0, 0, 0, 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.3, 0.3))
def test_paired_bootstrap_is_antisymmetric_and_p_agrees_with_its_interval(seed: int, shift: float) -> None:
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=60), generator.normal(shift, 1, 60)
    found = paired_bootstrap(mean_of(first), mean_of(second))
    turned = paired_bootstrap(mean_of(second), mean_of(first))
    assert turned.difference.value == pytest.approx(-found.difference.value)
    assert turned.p == pytest.approx(found.p, abs=0.15)
    if not 0.04 < found.p < 0.06:
        assert (found.p < 0.05) == (found.difference.low > 0 or found.difference.high < 0)


def test_paired_bootstrap_rarely_cries_wolf() -> None:
    generator = np.random.default_rng(7)
    alarms = 0
    for _ in range(200):
        pair = [mean_of(generator.beta(0.4, 0.2, 120)) for _ in range(2)]
        alarms += paired_bootstrap(pair[0], pair[1], resamples=1000).p < 0.05
    assert alarms <= 20


def test_no_rows_and_unequal_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="no rows"):
        wilson(0, 0)
    with pytest.raises(UsageError, match="no rows"):
        minimum_detectable_difference(0.1, 0)
    with pytest.raises(UsageError, match="not 2 and 3"):
        paired_bootstrap(mean_of([0.0, 1.0]), mean_of([0.0, 1.0, 1.0]))


def test_one_row_has_no_interval_and_shows_no_difference() -> None:
    row = np.array([[3.0, 4.0]])
    found = bootstrap(row, lambda sums: sums[..., 0] / sums[..., 1])
    assert (found.value, found.low, found.high, found.n, found.method) == (0.75, None, None, 1, ONE_ROW)
    paired = paired_bootstrap((row, lambda sums: sums[..., 0]), (row, lambda sums: sums[..., 1]))
    assert (paired.difference.value, paired.difference.low, paired.p) == (1.0, None, 1.0)
