"""Intervals and tests: the only place that computes them. Sources are named at each function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import UsageError
from outcrop.core.results import Estimate
from outcrop.core.seeds import derive

FloatArray = NDArray[np.float64]
Value = Callable[[FloatArray], FloatArray]
"""Sums of sufficient statistics [..., statistics] → the quantity [...]."""

CONFIDENCE = 0.95
POWER = 0.8
RESAMPLES = 10_000
ONE_ROW = "no interval from one row"
_DRAWS = 20_000_000
_CHUNK = 500
_NORMAL = NormalDist()


class PairedDifference(NamedTuple):
    """difference: second − first with its interval; p: two-sided; standard_error: of the resampled differences."""

    difference: Estimate
    p: float
    standard_error: float


def wilson(successes: float, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Interval of a proportion (Wilson 1927; Brown, Cai and DasGupta 2001, eq. 4). Raises UsageError for n = 0."""
    _refuse_no_rows(n)
    z = _quantile(confidence)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At the ends rounding would leave the interval a hair short of the share itself.
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)), n, "Wilson")


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


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values for several tests at once, in the given order (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


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


def _refuse_no_rows(n: int) -> None:
    if n < 1:
        raise UsageError("There are no rows to draw conclusions from.", "Give at least one test row.")
