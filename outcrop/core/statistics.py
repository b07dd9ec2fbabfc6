"""Intervals and tests: the only place that computes them. Sources are named at each function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import UsageError
from outcrop.core.results import BoundedEstimate, Estimate
from outcrop.core.seeds import derive

FloatArray = NDArray[np.float64]
Value = Callable[[FloatArray], FloatArray]
"""Sums of sufficient statistics [..., statistics] → the quantity [...]."""

CONFIDENCE = 0.95
POWER = 0.8
RESAMPLES = 10_000
FEW = 10
ONE_ROW = "no interval from one row"
_DRAWS = 20_000_000
_CHUNK = 500
_TWO_SAMPLE_CHUNK = 100
_NORMAL = NormalDist()


Counts = Any
"""A matrix [rows, statistics], dense or scipy.sparse."""

Distance = Callable[[FloatArray, FloatArray], FloatArray]
"""Sums of both samples [resamples, statistics] → the distance [resamples]."""


class Chance(NamedTuple):
    """usual: what 95 of 100 pairs of samples of one population stay below; p: of a distance as large by chance."""

    usual: float
    p: float


class PairedDifference(NamedTuple):
    """difference: second − first with its interval; p: two-sided; standard_error: of the resampled differences."""

    difference: Estimate
    p: float
    standard_error: float


class NonInferiority(NamedTuple):
    """How much worse the second of two systems is: loss = first − second, and what it is at most, at one-sided 95 %.

    shown: that bound is below the margin; rows_needed: for 80 % power at this loss and disagreement, None where no
    number of rows would do.
    """

    loss: float
    bound: float
    margin: float
    shown: bool
    n: int
    rows_needed: int | None
    method: str


def wilson(successes: float, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Interval of a proportion (Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4). Raises UsageError for n = 0."""
    _refuse_no_rows(n)
    z = _quantile(confidence)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At the ends rounding would leave the interval a hair short of the share itself.
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)), n, "Wilson")


def proportion(successes: int, n: int, confidence: float = CONFIDENCE) -> BoundedEstimate:
    """The estimate of `wilson`, which has an interval for every n."""
    found = wilson(successes, n, confidence)
    assert found.low is not None, "Wilson's interval has a lower end"
    assert found.high is not None, "Wilson's interval has an upper end"
    return BoundedEstimate(found.value, found.low, found.high, n, found.method)


def newcombe(first: tuple[int, int], second: tuple[int, int], confidence: float = CONFIDENCE) -> BoundedEstimate:
    """Interval of a difference first − second of independent proportions (Newcombe 1998, method 10).

    first, second: successes and n. Raises UsageError for n = 0.
    """
    left, right = proportion(*first, confidence), proportion(*second, confidence)
    value = left.value - right.value
    below = math.hypot(left.value - left.low, right.high - right.value)
    above = math.hypot(left.high - left.value, right.value - right.low)
    return BoundedEstimate(value, value - below, value + above, left.n + right.n, "Newcombe")


def two_proportions(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided p of equal proportions: Pearson's χ² with N − 1 (Campbell 2007). first, second: successes and n."""
    (a, m), (b, n) = first, second
    pooled, rows = (a + b) / (m + n), m + n
    if not 0 < pooled < 1:
        return 1.0
    z = abs(a / m - b / n) / math.sqrt(pooled * (1 - pooled) * (1 / m + 1 / n)) * math.sqrt((rows - 1) / rows)
    return 2 * _NORMAL.cdf(-z)


def bootstrap(
    rows: FloatArray, value: Value, *, seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Estimate:
    """Bias-corrected percentile bootstrap over rows (Efron 1987, "Better Bootstrap Confidence Intervals", §3, a = 0).

    rows: sufficient statistics [rows, statistics]; value: the quantity from their sums. Large sets are resampled
    fewer times; the method of the estimate says how often. One row has no interval.
    """
    _refuse_no_rows(len(rows))
    if len(rows) == 1:
        return Estimate(float(value(rows[0])), None, None, 1, ONE_ROW)
    drawn = resample(rows, value, seed, resamples)
    return _interval(float(value(rows.sum(axis=0))), drawn, len(rows), confidence, "bootstrap")


def paired_bootstrap(
    first: tuple[FloatArray, Value],
    second: tuple[FloatArray, Value],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> PairedDifference:
    """Difference second − first over the same resampled rows, with the interval of `bootstrap`.

    p is twice the smaller share of resamples on either side of zero, with the observed set as one more resample and
    resamples of no difference on both sides (Efron and Tibshirani 1993, §15.4). One row has no interval and p = 1.
    Raises UsageError for unequal rows.
    """
    (first_rows, first_value), (second_rows, second_value) = first, second
    if len(first_rows) != len(second_rows):
        raise UsageError(f"A paired test needs the same rows, not {len(first_rows)} and {len(second_rows)}.")
    _refuse_no_rows(len(first_rows))
    split = first_rows.shape[1]

    def difference(sums: FloatArray) -> FloatArray:
        return second_value(sums[..., split:]) - first_value(sums[..., :split])

    rows = np.concatenate([first_rows, second_rows], axis=1)
    if len(rows) == 1:
        return PairedDifference(Estimate(float(difference(rows[0])), None, None, 1, ONE_ROW), 1.0, 0.0)
    drawn = resample(rows, difference, seed, resamples)
    estimate = _interval(float(difference(rows.sum(axis=0))), drawn, len(rows), confidence, "paired bootstrap")
    side = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return PairedDifference(estimate, min(1.0, 2 * (side + 1) / (len(drawn) + 1)), float(drawn.std()))


def resample(rows: FloatArray, value: Value, seed: int, resamples: int) -> FloatArray:
    """The quantity on each resample of the rows, drawn with replacement [resamples].

    Equal rows are drawn together, by a multinomial over the distinct ones: the same distribution, and far fewer
    draws for the few kinds of row that 0/1 scores and confusion counts have.
    """
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    times = min(resamples, max(1000, _DRAWS // len(distinct)))
    generator = np.random.default_rng(derive(seed, "bootstrap"))
    shares = counts / counts.sum()
    drawn = np.empty(times)
    for start in range(0, times, _CHUNK):
        size = min(_CHUNK, times - start)
        drawn[start : start + size] = value(generator.multinomial(len(rows), shares, size=size) @ distinct)
    return drawn


def two_sample_bootstrap(
    first: Counts, second: Counts, distance: Distance, *, seed: int = 0, resamples: int = 500,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> BoundedEstimate:  # fmt: skip
    """Basic bootstrap of a distance between two samples (Davison and Hinkley 1997, §5.2): 2θ̂ − quantiles of θ*.

    It takes off the upward bias that distances of samples have. first, second: what each row adds to the sums
    [rows, statistics]; distance: from the sums of both samples; bounds: where the quantity ends.
    """
    value = float(distance(_total(first), _total(second))[0])
    generator = np.random.default_rng(derive(seed, "two samples"))
    drawn = np.empty(resamples)
    for start in range(0, resamples, _TWO_SAMPLE_CHUNK):
        size = min(_TWO_SAMPLE_CHUNK, resamples - start)
        sums = [generator.multinomial(n, np.full(n, 1 / n), size=size) @ rows
                for rows in (first, second) if (n := rows.shape[0])]  # fmt: skip
        drawn[start : start + size] = distance(*sums)
    high, low = 2 * value - np.quantile(drawn, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    ends = (min(max(float(end), bounds[0]), bounds[1]) for end in (low, high))
    low, high = min(next(ends), value), max(next(ends), value)
    n = first.shape[0] + second.shape[0]
    return BoundedEstimate(value, low, high, n, f"basic bootstrap, {resamples:,} resamples")


def permutation_test(
    first: Counts, second: Counts, distance: Distance, *, seed: int = 0, permutations: int = 500
) -> Chance:
    """How large a distance comes from sampling alone: rows are dealt to the two samples at random (Fisher 1935)."""
    value = float(distance(_total(first), _total(second))[0])
    generator = np.random.default_rng(derive(seed, "permutations"))
    rows, pooled = first.shape[0] + second.shape[0], _total(first) + _total(second)
    drawn = np.empty(permutations)
    for start in range(0, permutations, _TWO_SAMPLE_CHUNK):
        size = min(_TWO_SAMPLE_CHUNK, permutations - start)
        dealt = np.zeros((size, rows))
        for row in dealt:
            row[generator.permutation(rows)[: first.shape[0]]] = 1.0
        sums = dealt[:, : first.shape[0]] @ first + dealt[:, first.shape[0] :] @ second
        drawn[start : start + size] = distance(sums, pooled - sums)
    reached = int((drawn >= value - 1e-12).sum())
    return Chance(float(np.quantile(drawn, CONFIDENCE)), (reached + 1) / (permutations + 1))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test from the discordant pairs (McNemar 1947); 1 where there are none."""
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def minimum_detectable_difference(
    disagreement: float, n: int, *, power: float = POWER, confidence: float = CONFIDENCE
) -> float:
    """Smallest true paired difference of proportions that is found: d = (z.975 + z.8) √((disagreement − d²)/n).

    disagreement: share of rows where just one of the two is right (Connor 1987; Miller 2024, arXiv 2411.00640, §5);
    none observed counts as 3/n, its upper bound by the rule of three.
    """
    _refuse_no_rows(n)
    z = _quantile(confidence) + _NORMAL.inv_cdf(power)
    return min(1.0, z * math.sqrt((disagreement or 3 / n) / (n + z * z)))


def detectable_from_error(standard_error: float, *, power: float = POWER, confidence: float = CONFIDENCE) -> float:
    """Smallest true difference found with this power, for a difference with a known standard error."""
    return (_quantile(confidence) + _NORMAL.inv_cdf(power)) * standard_error


def non_inferiority(first: FloatArray, second: FloatArray, margin: float, *, seed: int = 0) -> NonInferiority:
    """Whether the second is worse than the first by less than the margin, on the same rows [n], higher being better.

    Scores of 0 and 1: Tango's score bound for paired proportions; others: the paired bootstrap's. Raises UsageError for
    no rows or unequal ones.
    """
    if len(first) != len(second):
        raise UsageError(f"A paired test needs the same rows, not {len(first)} and {len(second)}.")
    _refuse_no_rows(len(first))
    n, steps = len(first), first - second
    loss = float(steps.mean())
    if set(np.unique(np.concatenate([first, second])).tolist()) <= {0.0, 1.0}:
        only_first, only_second = int((steps > 0).sum()), int((steps < 0).sum())
        bound, method = tango_upper(only_first, only_second, n), "Tango score"
        spread = (only_first + only_second or 3) / n  # none observed counts as its bound by the rule of three
    elif n == 1:
        bound, method, spread = math.inf, ONE_ROW, math.inf
    else:
        drawn = resample(steps[:, None], lambda sums: sums[..., 0] / n, seed, RESAMPLES)
        shift = 2 * _bias(loss, drawn)
        bound = float(np.quantile(drawn, _NORMAL.cdf(shift + _NORMAL.inv_cdf(CONFIDENCE))))
        bound = _of_few(bound, int((steps > 0).sum()), int((steps != 0).sum()), n)
        method, spread = f"paired bootstrap, {len(drawn):,} resamples", float((steps**2).mean() or 3 / n)
    needed = rows_to_show(loss, spread, margin)
    return NonInferiority(loss, bound, margin, bound < margin, n, needed, method)


def non_inferiority_of_sums(
    first: tuple[FloatArray, Value], second: tuple[FloatArray, Value], margin: float, *, seed: int = 0
) -> NonInferiority:
    """The same for quantities of sums over rows, as `paired_bootstrap` takes them: F1, BLEU. Higher is better.

    rows_needed is from the standard error, which falls with the root of the rows. Scores are from 0 to 1.
    """
    found = paired_bootstrap(second, first, seed=seed, confidence=2 * CONFIDENCE - 1)
    loss, n = found.difference.value, found.difference.n
    if found.difference.high is None:
        return NonInferiority(loss, math.inf, margin, False, n, None, ONE_ROW)
    differing = int((first[0] != second[0]).any(axis=1).sum())
    spread = n * found.standard_error**2 + loss * loss if differing else 3 / n
    bound, method = _of_few(found.difference.high, differing, differing, n), found.difference.method
    return NonInferiority(loss, bound, margin, bound < margin, n, rows_to_show(loss, spread, margin), method)


def tango_upper(only_first: int, only_second: int, n: int, confidence: float = CONFIDENCE) -> float:
    """One-sided upper bound of a paired difference of proportions, first − second (Tango 1998, eq. 2 and 7).

    only_first, only_second: rows that just one of the two has right.
    """
    _refuse_no_rows(n)
    z = _NORMAL.inv_cdf(confidence)
    low, high = (only_first - only_second) / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _tango(only_first, only_second, n, middle) > -z else (low, middle)
    return high


def _tango(only_first: int, only_second: int, n: int, difference: float) -> float:
    """Tango's statistic of a true difference; falls as the difference grows."""
    a, b = 2 * n, -only_first - only_second + (2 * n - only_first + only_second) * difference
    c = -only_second * difference * (1 - difference)
    share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (
        2 * a
    )  # of rows that only the second has right, at most likely
    variance = n * (2 * share + difference * (1 - difference))
    gap = only_first - only_second - n * difference
    return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap) if gap else 0.0


def rows_to_show(loss: float, spread: float, margin: float, power: float = POWER) -> int | None:
    """Rows by which a loss is shown to be below the margin with this power; None where it is not below it.

    spread: mean square of the paired differences, for 0/1 scores the share of rows on which the two differ (the sample
    size of Lachenbruch and Lynch 1998 for paired binary outcomes, without continuity correction).
    """
    if loss >= margin or not math.isfinite(spread):
        return None
    z = _NORMAL.inv_cdf(CONFIDENCE) + _NORMAL.inv_cdf(power)
    return max(1, math.ceil(z * z * max(0.0, spread - loss * loss) / (margin - loss) ** 2))


def ratio_of_medians(first: FloatArray, second: FloatArray, *, seed: int = 0, resamples: int = 2000) -> Estimate:
    """median(first) / median(second) of measurements taken in turns on the same rows, both above 0, with a percentile
    bootstrap over rows. Raises UsageError for no rows or unequal ones."""
    if len(first) != len(second):
        raise UsageError(f"A ratio of pairs needs the same rows, not {len(first)} and {len(second)}.")
    _refuse_no_rows(len(first))
    value = float(np.median(first) / np.median(second))
    if len(first) == 1:
        return Estimate(value, None, None, 1, ONE_ROW)
    rows = np.random.default_rng(derive(seed, "ratio")).integers(len(first), size=(resamples, len(first)))
    drawn = np.median(first[rows], axis=1) / np.median(second[rows], axis=1)
    low, high = np.quantile(drawn, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Estimate(
        value, min(value, float(low)), max(value, float(high)), len(first), f"bootstrap, {resamples:,} resamples"
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values for several tests at once, in the given order (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _of_few(bound: float, worse: int, differing: int, n: int) -> float:
    """A bootstrap's upper bound of a loss; where fewer than FEW rows differ, which is too few for it, at least Tango's,
    every worse row counted as wholly lost: equal answers to a handful of rows prove nothing."""
    return max(bound, tango_upper(worse, 0, n)) if differing < FEW else bound


def _interval(value: float, drawn: FloatArray, n: int, confidence: float, name: str) -> Estimate:
    shift, z = 2 * _bias(value, drawn), _quantile(confidence)
    low, high = np.quantile(drawn, [_NORMAL.cdf(shift - z), _NORMAL.cdf(shift + z)])
    return Estimate(value, float(low), float(high), n, f"{name}, {len(drawn):,} resamples")


def _bias(value: float, drawn: FloatArray) -> float:
    """Median bias in standard units: macro-F1 over rare labels loses up to a third of its coverage without it."""
    share = (float((drawn < value).mean()) + float((drawn <= value).mean())) / 2
    edge = 0.5 / len(drawn)
    return _NORMAL.inv_cdf(min(max(share, edge), 1 - edge))


def _quantile(confidence: float) -> float:
    return _NORMAL.inv_cdf(0.5 + confidence / 2)


def _total(rows: Counts) -> FloatArray:
    total: FloatArray = np.ones((1, rows.shape[0])) @ rows
    return total


def _refuse_no_rows(n: int) -> None:
    if n < 1:
        raise UsageError("There are no rows to draw conclusions from.", "Give at least one test row.")
