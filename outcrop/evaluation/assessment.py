"""From answers to an EvaluationResult: every metric with its interval, every paired comparison, flips, confusion."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from outcrop.core.errors import UsageError, did_you_mean
from outcrop.core.seeds import derive
from outcrop.evaluation.comparison import Answered, compare_all, estimate, refuse_other_rows
from outcrop.evaluation.metrics.catalog import METRICS, default_metrics
from outcrop.evaluation.metrics.labels import confusion, invalid_answers
from outcrop.evaluation.metrics.metric import ExampleMetric, Metric
from outcrop.evaluation.results import Change, DataFacts, EvaluationResult, Sample, SystemResult

SAMPLES: dict[Change, int] = {"gained": 5, "lost": 5, "neither right": 3, "both right": 2, "shown": 8}
"""How many rows of each kind are shown; drawn at random, so that they are not picked to please."""

FEW_ROWS = 100
"""Below this a proportion near 90 % has an interval wider than ± 6 points."""


def assess(
    title: str,
    data: DataFacts,
    systems: Sequence[Answered],
    *,
    metrics: Sequence[str] = (),
    candidate: str | None = None,
    baseline: str | None = None,
    seed: int = 0,
) -> EvaluationResult:
    """Measure systems on the same rows.

    metrics: names, the first decides; none: those that fit the references. candidate: what the verdict is about,
    the last system unless named. baseline: what it is compared with, the best of the others unless named, because
    beating the strongest is the harder claim. Raises UsageError for unknown names, unequal rows or no rows.
    """
    _refuse_unusable(systems, data)
    rows = systems[0].examples
    names = tuple(metrics) or default_metrics([row.references for row in rows], rows[0].labels)
    measures = [METRICS.load(name) for name in names]
    tried = systems[-1] if candidate is None else _find(systems, candidate)
    rival = _strongest(systems, tried, measures[0]) if baseline is None else _find(systems, baseline)
    others = [system for system in systems if system is not rival]
    compared = [c for measure in measures for c in compare_all(measure, rival, others, seed=seed)] if rival else []
    detectable = [c.minimum_detectable for c in compared if (c.metric, c.system) == (names[0], tried.name)]
    labels = rows[0].labels
    return EvaluationResult(
        title=title,
        data=data,
        metrics=tuple(measure.facts(rows) for measure in measures),
        systems=tuple(_measured(system, measures, seed) for system in systems),
        candidate=tried.name,
        baseline=rival.name if rival else None,
        comparisons=tuple(compared),
        labels=labels,
        confusion={s.name: tuple(map(tuple, confusion(s.examples).tolist())) for s in systems} if labels else {},
        samples=_samples(systems, tried, rival, _row_metric(measures), seed),
        minimum_detectable=detectable[0] if detectable else None,
        notes=_notes(data),
    )


def _refuse_unusable(systems: Sequence[Answered], data: DataFacts) -> None:
    if not systems or not systems[0].examples:
        raise UsageError("There is nothing to assess.", "Give at least one system with answers to test rows.")
    names = [system.name for system in systems]
    if len(set(names)) < len(names):
        raise UsageError(f"Two systems have the same name: {', '.join(names)}.", "Give each its own.")
    for system in systems[1:]:
        refuse_other_rows(systems[0], system)
    if data.rows != len(systems[0].examples):
        given = f"{len(systems[0].examples)} of {data.rows} test rows have answers."
        raise UsageError(given, "Score every row: rows that are left out change the score.", data.path)


def _find(systems: Sequence[Answered], name: str) -> Answered:
    for system in systems:
        if system.name == name:
            return system
    raise UsageError(f"No system named {name}.", did_you_mean(name, [system.name for system in systems]))


def _strongest(systems: Sequence[Answered], tried: Answered, metric: Metric) -> Answered | None:
    sign = 1 if metric.direction == "higher" else -1
    others = [system for system in systems if system is not tried]
    return max(others, key=lambda system: sign * metric.score_set(system.examples), default=None)


def _row_metric(measures: Sequence[Metric]) -> ExampleMetric | None:
    return next((measure for measure in measures if isinstance(measure, ExampleMetric)), None)


def _measured(system: Answered, measures: Sequence[Metric], seed: int) -> SystemResult:
    row_metric = _row_metric(measures)
    latency = np.percentile(system.latencies_ms, [50, 95]).tolist() if system.latencies_ms else [None, None]
    return SystemResult(
        name=system.name,
        description=system.description,
        metrics={measure.name: estimate(measure, system.examples, seed=seed) for measure in measures},
        answers=tuple(example.answer for example in system.examples),
        correct=tuple(row_metric.scores(system.examples).tolist()) if row_metric else None,
        output_tokens_mean=float(np.mean(system.output_tokens)) if system.output_tokens else None,
        latency_p50_ms=latency[0],
        latency_p95_ms=latency[1],
        train_minutes=system.train_minutes,
        invalid_answers=invalid_answers(system.examples) if system.examples[0].labels else None,
        stopped_share=float(np.mean(system.stopped)) if system.stopped else None,
    )


def _samples(
    systems: Sequence[Answered], tried: Answered, rival: Answered | None, metric: ExampleMetric | None, seed: int
) -> tuple[Sample, ...]:
    if not any(example.answer for system in systems for example in system.examples):
        return ()  # likelihoods were measured, nothing was generated
    changes = _changes(tried, rival, metric)
    chosen = []
    for change, wanted in SAMPLES.items():
        places = [index for index, found in enumerate(changes) if found == change]
        chosen += sorted(random.Random(derive(seed, "samples", change)).sample(places, min(wanted, len(places))))
    rows = tried.examples
    return tuple(
        Sample(
            row=index + 1,
            prompt=rows[index].prompt,
            references=rows[index].references,
            answers={system.name: system.examples[index].answer for system in systems},
            change=changes[index],
        )
        for index in chosen
    )


def _changes(tried: Answered, rival: Answered | None, metric: ExampleMetric | None) -> list[Change]:
    if rival is None or metric is None:
        return ["shown"] * len(tried.examples)
    pairs = zip(metric.scores(rival.examples).tolist(), metric.scores(tried.examples).tolist(), strict=True)
    return [_change(before, after, metric.high) for before, after in pairs]


def _change(before: float, after: float, best: float) -> Change:
    if after != before:
        return "gained" if after > before else "lost"
    return "both right" if after == best else "neither right"


def _notes(data: DataFacts) -> tuple[str, ...]:
    notes = []
    if data.rows < FEW_ROWS:
        notes.append(f"Only {data.rows} test rows: the intervals are wide, and small differences cannot be seen.")
    if data.looks is None:
        notes.append("Nothing records how often this test set was used to choose between systems.")
    elif data.looks > 1:
        notes.append(
            f"This test set has been opened {data.looks} times; every choice made after an earlier look makes "
            "its scores a little too good."
        )
    return tuple(notes)
