"""The report of an evaluation: one HTML file that needs nothing else, for people who have to decide."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markupsafe import Markup

from outcrop.core.charts import NARROW, WIDE, Interval, interval_plot
from outcrop.core.files import write_atomic
from outcrop.core.page import Figure, environment, style
from outcrop.core.results import Estimate
from outcrop.core.spec import Resolved
from outcrop.evaluation import heatmap, notation, plots
from outcrop.evaluation.comparison import headline
from outcrop.evaluation.distillation import DistillationFacts
from outcrop.evaluation.pareto import pareto_figure
from outcrop.evaluation.results import (
    Change,
    EvaluationResult,
    MetricFacts,
    Preparation,
    Reproduction,
    Sample,
    SystemResult,
    TrainingCurves,
    Verdict,
)
from outcrop.evaluation.table import result_table

_GROUPS: dict[Change, str] = {
    "gained": "Rows gained",
    "lost": "Rows lost",
    "neither right": "Rows that neither has right",
    "both right": "Rows that both have right",
    "shown": "Rows drawn at random",
}

_OPEN: tuple[Change, ...] = ("gained", "lost", "shown")


@dataclass(frozen=True)
class ReportContent:
    """What a report tells. Parts that are None are left out. created: when, as it shall be written."""

    result: EvaluationResult
    curves: TrainingCurves | None = None
    preparation: Preparation | None = None
    parameters: tuple[Resolved, ...] | None = None
    reproduction: Reproduction | None = None
    created: str = ""
    distillation: DistillationFacts | None = None


@dataclass(frozen=True)
class ScoreLine:
    """One system under one metric, as written. against: its paired difference to the baseline."""

    system: str
    score: str
    interval: str
    against: str


@dataclass(frozen=True)
class MetricScores:
    """All systems under one metric beyond the first."""

    metric: MetricFacts
    lines: tuple[ScoreLine, ...]


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix. Many labels: one picture that scales, and the pairs confused most; few: one per width."""

    system: str
    open: bool
    pictures: dict[str, Markup]
    pairs: tuple[heatmap.ConfusedPair, ...]


@dataclass(frozen=True)
class SampleGroup:
    """Sample rows of one kind. total: how many of the test rows are of this kind, None where that is not counted."""

    title: str
    total: int | None
    samples: tuple[Sample, ...]
    open: bool


@dataclass(frozen=True)
class Answer:
    """An answer under a sample: whose, what, and whether it is right, where the metric says 0 or 1."""

    system: str
    text: str
    right: bool | None


def write_report(path: Path, content: ReportContent) -> None:
    """Write the report atomically. It holds its styles and pictures, runs no script and loads nothing."""
    write_atomic(path, render(content))


def render(content: ReportContent) -> str:
    """The report as HTML; every text of the content is escaped."""
    result = content.result
    return environment("outcrop.evaluation").get_template("report.html.jinja").render(
        notation=notation,
        style=style(),
        content=content,
        result=result,
        headline=content.distillation.verdict if content.distillation else headline(result),
        pareto=pareto_figure(content.distillation) if content.distillation else None,
        verdict=_verdict(result),
        table=result_table(result),
        scores=_scores(result),
        figures=_figures(result),
        training=_training_figures(content.curves) if content.curves else (),
        confusions=_confusions(result),
        groups=_sample_groups(result),
        answers=partial(_answers, result),
        cost_facts=_cost_facts(content.distillation) if content.distillation else [],
        data_facts=_data_facts(result),
        method_facts=_method_facts(result),
    )


def _verdict(result: EvaluationResult) -> Verdict | None:
    comparison = result.comparison(result.metrics[0].name, result.candidate)
    return comparison.verdict if comparison else None


def _scores(result: EvaluationResult) -> tuple[MetricScores, ...]:
    return tuple(
        MetricScores(metric, tuple(_score_line(result, metric, system) for system in result.systems))
        for metric in result.metrics[1:]
    )


def _score_line(result: EvaluationResult, metric: MetricFacts, system: SystemResult) -> ScoreLine:
    found = system.metrics[metric.name]
    comparison = result.comparison(metric.name, system.name)
    against = "baseline" if system.name == result.baseline else notation.against_baseline(metric, comparison)
    return ScoreLine(system.name, notation.score(metric, found.value), notation.interval(metric, found), against)


def _figures(result: EvaluationResult) -> tuple[Figure, ...]:
    differences = _difference_figure(result)
    scores = _score_figure(result, result.metrics[0])
    return (scores,) if differences is None else (scores, differences)


def _score_figure(result: EvaluationResult, metric: MetricFacts) -> Figure:
    scale = 100 if notation.is_share(metric) else 1
    rows = []
    for system in result.systems:
        found = system.metrics[metric.name]
        text = f"{notation.number(metric, found.value)} ({notation.interval(metric, found)})"
        values = _scaled(found, scale)
        rows.append(Interval(system.name, *values, text, system.name == result.candidate))
    low, high = (end if end is None else scale * end for end in (metric.low, metric.high))
    title = notation.heading(metric)
    wide, narrow = (interval_plot(title, rows, width, bounds=(low, high)) for width in (WIDE, NARROW))
    better = "" if metric.direction == "higher" else " Lower is better."
    return Figure(title, wide, narrow, f"Points with 95 % intervals ({_methods(result, metric)}).{better}")


def _scaled(found: Estimate, scale: float) -> tuple[float, float, float]:
    """Value and ends of an interval as drawn; without an interval it is a point."""
    low, high = (found.value if end is None else end for end in (found.low, found.high))
    return scale * found.value, scale * low, scale * high


def _methods(result: EvaluationResult, metric: MetricFacts) -> str:
    """How the intervals of a metric were made: "Wilson", or "bootstrap, 10,000 resamples"."""
    return "; ".join(sorted({system.metrics[metric.name].method for system in result.systems}))


def _difference_figure(result: EvaluationResult) -> Figure | None:
    metric = result.metrics[0]
    found = [comparison for comparison in result.comparisons if comparison.metric == metric.name]
    if not found:
        return None
    scale = 100 if notation.is_share(metric) else 1
    rows = [
        Interval(
            c.system, *_scaled(c.difference, scale),
            notation.against_baseline(metric, c), c.system == result.candidate,
        )
        for c in found
    ]
    unit = ", points" if notation.has_points(metric) else ""
    title = f"Difference to {result.baseline}{unit}"
    detectable = None if result.minimum_detectable is None else scale * result.minimum_detectable
    wide, narrow = (
        interval_plot(title, rows, width, undetectable=detectable or 0.0) for width in (WIDE, NARROW)
    )
    note = f"Paired differences on the same rows with 95 % intervals ({found[0].difference.method})."
    if result.minimum_detectable is not None:
        smallest = notation.difference(metric, result.minimum_detectable).removeprefix("+")
        note += f" Shaded: true differences below {smallest}, which these rows are likely to miss."
    return Figure(title, wide, narrow, note)


def _training_figures(curves: TrainingCurves) -> tuple[Figure, ...]:
    averaged = plots.points_per_mean(curves)
    notes = [f"Each point of the training loss is the mean of {averaged} steps."] if averaged > 1 else []
    missing = sum(loss is None for _, loss in curves.train)
    if missing:
        notes.append(f"{missing:,} steps had no finite loss.")
    if not curves.validation:
        notes.append("There were no validation rows, so overfitting could not be seen.")
    wide, narrow = plots.loss_plot(curves, WIDE), plots.loss_plot(curves, NARROW)
    drawn = [Figure("Loss", wide, narrow, " ".join(notes))]
    metric, small = plots.metric_plot(curves, WIDE), plots.metric_plot(curves, NARROW)
    if metric is not None and small is not None:
        drawn.append(Figure(curves.metric_title or "Task metric", metric, small))
    return tuple(drawn)


def _confusions(result: EvaluationResult) -> tuple[Confusion, ...]:
    if not result.labels:
        return ()
    many = len(result.labels) > heatmap.FULL_LABELS
    found = []
    for system in sorted(result.systems, key=lambda system: system.name != result.candidate):
        counts = result.confusion[system.name]
        pairs = tuple(heatmap.confused_pairs(result.labels, counts)) if many else ()
        title = f"Confusion matrix of {system.name}"
        if many:
            pictures = {"scaled": heatmap.compact_map(title, result.labels, counts)}
        else:
            widths = {"wide": WIDE, "narrow": NARROW}
            pictures = {kind: heatmap.heat_map(title, result.labels, counts, width) for kind, width in widths.items()}
        found.append(Confusion(system.name, system.name == result.candidate, pictures, pairs))
    return tuple(found)


def _sample_groups(result: EvaluationResult) -> tuple[SampleGroup, ...]:
    comparisons = [c for c in result.comparisons if c.system == result.candidate and c.gained is not None]
    totals = {"gained": comparisons[0].gained, "lost": comparisons[0].lost} if comparisons else {}
    groups = []
    for change, title in _GROUPS.items():
        samples = tuple(sample for sample in result.samples if sample.change == change)
        if samples or totals.get(change) == 0:
            groups.append(SampleGroup(title, totals.get(change), samples, change in _OPEN))
    return tuple(groups)


def _answers(result: EvaluationResult, sample: Sample) -> tuple[Answer, ...]:
    """The answers to show under a sample: the baseline's and the candidate's, or all where nothing is compared."""
    names = [result.baseline, result.candidate] if result.baseline else [system.name for system in result.systems]
    return tuple(Answer(name, sample.answers[name], _right(result, sample, name)) for name in names if name)


def _right(result: EvaluationResult, sample: Sample, name: str) -> bool | None:
    correct = result.system(name).correct
    value = correct[sample.row - 1] if correct else None
    return bool(value) if value in (0, 1) else None


def _cost_facts(found: DistillationFacts) -> list[tuple[str, str]]:
    cost = found.cost
    if cost is None:
        return []
    stages = ", ".join(f"{stage} {notation.figures(seconds)}" for stage, seconds in cost.stages_s.items())
    price = "not given" if cost.hourly_price is None else f"{notation.figures(cost.hourly_price)} USD an hour, as given"
    told = [
        ("Price of this machine", price),
        ("The distillation took", f"{notation.figures(cost.machine_s)} seconds of it: {stages}"),
    ]
    if found.over_network:
        told.append(("The teacher's answers cost", f"{notation.figures_or_dash(cost.answers_usd)} USD"))
    elif found.teacher_calls_cached:
        before = notation.count(found.teacher_calls_cached)
        told.append(("Not counted", f"{before} rows that the teacher had worked on before this run"))
    return told


def _data_facts(result: EvaluationResult) -> list[tuple[str, str]]:
    data = result.data
    looks = "not counted" if data.looks is None else f"{notation.count(data.looks)}, this one included"
    sealed = "yes, by the certificate of its split" if data.sealed else "no"
    labels = [("Labels", notation.count(len(result.labels)))] if result.labels else []
    rows = notation.count(data.rows)
    return [
        ("Test set", data.path), ("Rows", rows), *labels, ("Sealed", sealed), ("Looks at the test set", looks),
        ("Digest", data.digest),
    ]  # fmt: skip


def _method_facts(result: EvaluationResult) -> list[tuple[str, str]]:
    facts = [(m.title, f"{m.source}, signature {m.signature}" if m.signature else m.source) for m in result.metrics]
    if result.comparisons:
        tests = " and ".join(sorted({comparison.test for comparison in result.comparisons}))
        number = result.comparisons[0].tests
        adjusted = f", adjusted by Holm for {number} comparisons" if number > 1 else ""
        facts.append(("Comparisons", f"on the same rows, p two-sided by {tests}{adjusted}"))
    if result.minimum_detectable is not None:
        smallest = notation.difference(result.metrics[0], result.minimum_detectable).removeprefix("+")
        facts.append(("Smallest detectable difference", f"{smallest}, with 80 % power at the 5 % level"))
    return facts
