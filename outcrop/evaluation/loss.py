"""What one system loses against another on the same rows, by any metric of answers, with its one-sided bound."""

from __future__ import annotations

from collections.abc import Sequence

from outcrop.core.statistics import NonInferiority, non_inferiority, non_inferiority_of_sums
from outcrop.evaluation.metrics.metric import Example, ExampleMetric, Metric, Sums


def measured_loss(
    metric: Metric, teacher: Sequence[Example], other: Sequence[Example], within: float, *, seed: int = 0
) -> NonInferiority:
    """What the other loses against the teacher by the metric, in shares of its range, with its one-sided 95 % bound: of
    the mean over rows where it is one, of the quantity of their sums else."""
    margin, width = within / 100, metric.high - metric.low
    if isinstance(metric, ExampleMetric):
        scores = [metric.scores(examples) / width for examples in (teacher, other)]
        return non_inferiority(scores[0], scores[1], margin, seed=seed)
    sums = [_in_shares(metric, examples) for examples in (teacher, other)]
    return non_inferiority_of_sums(sums[0], sums[1], margin, seed=seed)


def _in_shares(metric: Metric, examples: Sequence[Example]) -> Sums:
    """The metric's sums, its value from 0 to 1."""
    rows, value = metric.sums(examples)
    return Sums(rows, lambda sums: (value(sums) - metric.low) / (metric.high - metric.low))
