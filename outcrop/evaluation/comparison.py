"""Paired comparison of two systems on the same rows, and what may be said of it in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from outcrop.core.errors import UsageError
from outcrop.core.results import Estimate
from outcrop.core.statistics import (
    CONFIDENCE,
    RESAMPLES,
    bootstrap,
    detectable_from_error,
    holm,
    mcnemar,
    minimum_detectable_difference,
    paired_bootstrap,
    wilson,
)
from outcrop.evaluation import notation
from outcrop.evaluation.metrics.metric import Example, ExampleMetric, Metric
from outcrop.evaluation.results import Comparison, EvaluationResult, MetricFacts, Verdict


@dataclass(frozen=True)
class Answered:
    """One system's answers to the test rows, in their order, and what they cost, where that was measured.

    output_tokens, latencies_ms, stopped: one per row; stopped: the answer ended before the length limit.
    """

    name: str
    description: str
    examples: tuple[Example, ...]
    output_tokens: tuple[int, ...] | None = None
    latencies_ms: tuple[float, ...] | None = None
    stopped: tuple[bool, ...] | None = None
    train_minutes: float | None = None


def estimate(metric: Metric, examples: Sequence[Example], *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """The metric with its 95 % interval: Wilson for 0/1 scores, bootstrap otherwise. Raises UsageError for no rows.

    Scores from 0 to 1 that are all equal tell a bootstrap nothing; they get Wilson's interval, which is wider.
    """
    value = metric.score_set(examples)
    rows, summed = metric.sums(examples)
    constant = metric.kind == "per_example" and (metric.low, metric.high) == (0, 1) and np.ptp(rows[:, 0]) == 0
    if metric.binary or constant:
        return wilson(value * len(examples), len(examples))
    return bootstrap(rows, summed, seed=seed, resamples=resamples)


def compare(
    metric: Metric, baseline: Answered, system: Answered, *, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """Compare a system with a baseline: difference with its interval, p, flips, smallest detectable difference.

    p is McNemar's exact one for 0/1 scores and the paired bootstrap's otherwise. A verdict other than "no difference
    shown" needs p < 0.05 and an interval without zero. Raises UsageError when the rows are not the same.
    """
    refuse_other_rows(baseline, system)
    before, after = metric.sums(baseline.examples), metric.sums(system.examples)
    found = paired_bootstrap(before, after, seed=seed, resamples=resamples)
    gained = lost = None
    p, test, detectable = found.p, "paired bootstrap", detectable_from_error(found.standard_error) or None
    if isinstance(metric, ExampleMetric):
        steps = after.rows[:, 0] - before.rows[:, 0]
        gained, lost = int((steps > 0).sum()), int((steps < 0).sum())
    if metric.binary and gained is not None and lost is not None:
        p, test = mcnemar(lost, gained), "McNemar exact"
        detectable = minimum_detectable_difference((gained + lost) / len(before.rows), len(before.rows))
    raw = Comparison(
        metric=metric.name, baseline=baseline.name, system=system.name,
        scores=(metric.score_set(baseline.examples), metric.score_set(system.examples)), difference=found.difference,
        p=p, test=test, tests=1, gained=gained, lost=lost, minimum_detectable=detectable,
        verdict="no difference shown", sentence="",
    )
    return _judged(raw, metric.facts(system.examples))


def compare_all(
    metric: Metric, baseline: Answered, systems: Sequence[Answered], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Comparison]:
    """Compare several systems with one baseline; p-values are Holm-adjusted for their number."""
    found = [compare(metric, baseline, system, seed=seed, resamples=resamples) for system in systems]
    facts = metric.facts(baseline.examples)
    adjusted = zip(found, holm([comparison.p for comparison in found]), strict=True)
    return [_judged(replace(comparison, p=p, tests=len(found)), facts) for comparison, p in adjusted]


def refuse_other_rows(baseline: Answered, system: Answered) -> None:
    """Raise UsageError unless both systems answered the same rows in the same order."""
    names = f"{baseline.name} and {system.name}"
    remedy = "Compare systems on the same test rows, in the same order."
    if len(baseline.examples) != len(system.examples):
        sizes = f"{len(baseline.examples)} and {len(system.examples)}"
        raise UsageError(f"{names} answered {sizes} rows.", remedy)
    for index, (one, other) in enumerate(zip(baseline.examples, system.examples, strict=True)):
        if (one.prompt, one.references, one.labels) != (other.prompt, other.references, other.labels):
            raise UsageError(f"{names} answered different rows: row {index + 1} is not the same.", remedy)


def headline(result: EvaluationResult) -> str:
    """The verdict of an evaluation in one sentence."""
    metric, candidate = result.metrics[0], result.system(result.candidate)
    comparison = result.comparison(metric.name, candidate.name)
    if comparison is not None:
        return comparison.sentence
    found = candidate.metrics[metric.name]
    return (
        f"{candidate.name} scores {notation.score(metric, found.value)} {_in_sentence(metric)} "
        f"({notation.interval_in_sentence(metric, found)}) on {notation.rows(found.n)}; "
        "no other system was measured on them, so nothing is said about better or worse."
    )


def _judged(comparison: Comparison, metric: MetricFacts) -> Comparison:
    """The comparison with its verdict and sentence."""
    found = comparison.difference
    verdict: Verdict = "no difference shown"
    without_zero = found.low is not None and found.high is not None and (found.low > 0 or found.high < 0)
    if comparison.p < 1 - CONFIDENCE and without_zero:
        verdict = "better" if (found.value > 0) == (metric.direction == "higher") else "worse"
    opening = {
        "better": f"{comparison.system} is better than {comparison.baseline}",
        "worse": f"{comparison.system} is worse than {comparison.baseline}",
        "no difference shown": f"No difference shown between {comparison.system} and {comparison.baseline}",
    }[verdict]
    adjusted = f", adjusted for {comparison.tests} comparisons" if comparison.tests > 1 else ""
    sentence = (
        f"{opening}: {_in_sentence(metric)} {notation.score(metric, comparison.scores[1])} "
        f"against {notation.score(metric, comparison.scores[0])}, {notation.difference(metric, found.value)} "
        f"({notation.interval_in_sentence(metric, found, signed=True)}, "
        f"{notation.p_value(comparison.p)}{adjusted}) on the same {notation.rows(found.n)}"
    )
    if verdict == "no difference shown" and comparison.minimum_detectable is not None:
        smallest = notation.difference(metric, comparison.minimum_detectable).removeprefix("+")
        sentence += f", which can show a true difference of {smallest} or more"
    return replace(comparison, verdict=verdict, sentence=sentence + ".")


def _in_sentence(metric: MetricFacts) -> str:
    """A metric's title inside a sentence: "accuracy", but "BLEU" and "Macro-F1" stay."""
    title = metric.title
    return title[0].lower() + title[1:] if title[1:2].islower() and "-F" not in title else title
