"""What a metric is: a value that depends on the rows only through sums over rows.

Means, macro-F1, corpus BLEU, perplexity and bits per byte are all of this kind. It makes every metric
independent of row order, and lets one bootstrap resample any of them by resampling sums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import UsageError
from outcrop.evaluation.results import Direction, Kind, MetricFacts

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Example:
    """One test row and a system's answer to it.

    labels: the closed set of allowed answers, where there is one;
    logprob: natural log-likelihood of the reference text, summed over its tokens;
    tokens, utf8_bytes: the length of that text.
    """

    prompt: str
    references: tuple[str, ...]
    answer: str
    labels: tuple[str, ...] | None = None
    logprob: float | None = None
    tokens: int | None = None
    utf8_bytes: int | None = None


class Sums(NamedTuple):
    """rows: sufficient statistics [rows, statistics]; value: sums of them [..., statistics] → the metric [...]."""

    rows: FloatArray
    value: Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """A named score. low, high: the range of its values; source: the paper or program that defines it.

    binary: every row scores 0 or 1; signature: the exact variant computed on these examples.
    """

    name: str
    title: str
    source: str
    direction: Direction = "higher"
    low: float = 0.0
    high: float = 1.0
    binary: bool = False
    signature: Callable[[Sequence[Example]], str] = lambda examples: ""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """Whether single rows have a score, or only the whole set."""

    @abstractmethod
    def sums(self, examples: Sequence[Example]) -> Sums:
        """Sufficient statistics of every row. Raises UsageError where examples lack what the metric needs."""

    def score_set(self, examples: Sequence[Example]) -> float:
        """The metric on all examples. Raises UsageError for no examples."""
        if not examples:
            raise UsageError(f"{self.title} of no rows is not defined.", "Give at least one test row.")
        rows, value = self.sums(examples)
        return float(value(rows.sum(axis=0)))

    def facts(self, examples: Sequence[Example]) -> MetricFacts:
        """The metric described for readers; open ends of its range are None, because JSON has no infinity."""
        low, high = (end if np.isfinite(end) else None for end in (self.low, self.high))
        return MetricFacts(
            self.name, self.title, self.direction, self.kind, low, high, self.source, self.signature(examples)
        )


@dataclass(frozen=True, kw_only=True)
class ExampleMetric(Metric):
    """A metric that scores single rows; on a set it is their mean."""

    score: Callable[[Example], float]

    @property
    def kind(self) -> Kind:
        return "per_example"

    def scores(self, examples: Sequence[Example]) -> FloatArray:
        """The score of every row [rows]."""
        return np.array([self.score(example) for example in examples], dtype=np.float64)

    def sums(self, examples: Sequence[Example]) -> Sums:
        scores = self.scores(examples)
        return Sums(np.stack([scores, np.ones_like(scores)], axis=1), ratio)


@dataclass(frozen=True, kw_only=True)
class SetMetric(Metric):
    """A metric of the whole set only."""

    summarise: Callable[[Sequence[Example]], Sums]

    @property
    def kind(self) -> Kind:
        return "set"

    def sums(self, examples: Sequence[Example]) -> Sums:
        return self.summarise(examples)


def ratio(sums: FloatArray) -> FloatArray:
    """First statistic over the second: a mean, or a rate. [..., 2] → [...]"""
    quotient: FloatArray = sums[..., 0] / sums[..., 1]
    return quotient


def needed(value: float | None, metric: str, name: str) -> float:
    """A likelihood field that the metric cannot do without. Raises UsageError when it is absent."""
    if value is None:
        raise UsageError(f"{metric} needs the {name} of every row.", "Score the reference texts with the model first.")
    return float(value)
