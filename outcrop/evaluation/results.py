"""What an evaluation found: frozen, JSON-ready. Reports, tables, model cards and APIs read these and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from outcrop.core.errors import DataError, did_you_mean
from outcrop.core.results import Estimate, JsonReady

Direction = Literal["higher", "lower"]
Kind = Literal["per_example", "set"]
Verdict = Literal["better", "worse", "no difference shown"]
Change = Literal["gained", "lost", "neither right", "both right", "shown"]


@dataclass(frozen=True)
class MetricFacts(JsonReady):
    """What a reader must know of a metric. low, high: the range of its values, None where it is open."""

    name: str
    title: str
    direction: Direction
    kind: Kind
    low: float | None
    high: float | None
    source: str
    signature: str = ""


@dataclass(frozen=True)
class SystemResult(JsonReady):
    """One system's answers to the test rows and what they cost. Row order is that of the data.

    correct: score of every row under the first metric, where it scores rows;
    invalid_answers: answers outside the closed label set; stopped_share: answers that ended before the length limit.
    """

    name: str
    description: str
    metrics: dict[str, Estimate]
    answers: tuple[str, ...]
    correct: tuple[float, ...] | None = None
    output_tokens_mean: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    train_minutes: float | None = None
    invalid_answers: int | None = None
    stopped_share: float | None = None


@dataclass(frozen=True)
class Comparison(JsonReady):
    """A system against a baseline on the same rows, in units of the metric: difference is system − baseline.

    scores: of the baseline and of the system;
    gained, lost: rows the system scores above and below the baseline, None for metrics that do not score rows;
    p: two-sided, after Holm's correction for `tests` comparisons;
    minimum_detectable: true difference found with 80 % power, None where no row differs and nothing can be said.
    """

    metric: str
    baseline: str
    system: str
    scores: tuple[float, float]
    difference: Estimate
    p: float
    test: str
    tests: int
    gained: int | None
    lost: int | None
    minimum_detectable: float | None
    verdict: Verdict
    sentence: str


@dataclass(frozen=True)
class DataFacts(JsonReady):
    """The test rows. looks: how often they have been opened, this time included, None where nothing records it;
    sealed: they are a part of a split, whose certificate fixes them."""

    path: str
    digest: str
    rows: int
    looks: int | None = None
    sealed: bool = False


@dataclass(frozen=True)
class Sample(JsonReady):
    """One test row with every system's answer. row is 1-based; change: from the baseline to the candidate."""

    row: int
    prompt: str
    references: tuple[str, ...]
    answers: dict[str, str]
    change: Change


@dataclass(frozen=True)
class EvaluationResult(JsonReady):
    """Systems measured on the same rows.

    metrics: the first is the one that decides; candidate: the system the verdict is about;
    baseline: what it is compared with, None for a single system;
    confusion: system → [true label][given label, the last column counting invalid answers];
    limits: why the scores say less than they seem to, for instance because rows were seen in training.
    """

    title: str
    data: DataFacts
    metrics: tuple[MetricFacts, ...]
    systems: tuple[SystemResult, ...]
    candidate: str
    baseline: str | None = None
    comparisons: tuple[Comparison, ...] = ()
    labels: tuple[str, ...] | None = None
    confusion: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    minimum_detectable: float | None = None
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    def system(self, name: str) -> SystemResult:
        """The result of one system. Raises DataError for an unknown name."""
        for system in self.systems:
            if system.name == name:
                return system
        raise DataError(f"No system named {name}.", did_you_mean(name, [system.name for system in self.systems]))

    def comparison(self, metric: str, system: str) -> Comparison | None:
        """The comparison of a system with the baseline under a metric, if there is one."""
        return next((c for c in self.comparisons if (c.metric, c.system) == (metric, system)), None)


@dataclass(frozen=True)
class TrainingCurves(JsonReady):
    """What training looked like. train: (step, loss); validation: (step, loss, metric); None: absent or not finite."""

    train: tuple[tuple[int, float | None], ...]
    validation: tuple[tuple[int, float | None, float | None], ...] = ()
    best_step: int | None = None
    stop_reason: str = ""
    metric_title: str = ""


@dataclass(frozen=True)
class Problem(JsonReady):
    """A kind of defect found in the data. first: where it was met first ("file:line"); message: what became of it."""

    code: str
    count: int
    first: str
    message: str


@dataclass(frozen=True)
class Preparation(JsonReady):
    """How the rows came to be. counts: (what, rows), in order; certificate: (claim, evidence) of a clean split."""

    counts: tuple[tuple[str, int], ...]
    problems: tuple[Problem, ...] = ()
    certificate: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Reproduction(JsonReady):
    """What is needed to get the same result again. machine, versions: (name, value)."""

    command: str
    machine: tuple[tuple[str, str], ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
