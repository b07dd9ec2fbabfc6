"""Accuracy over a closed label set: an answer outside the set is wrong, and counted as invalid besides."""

from __future__ import annotations

from outcrop.evaluation.metrics.labels import given_label, true_label
from outcrop.evaluation.metrics.metric import Example, ExampleMetric


def score(example: Example) -> float:
    """1 where the answer is the reference label, apart from surrounding whitespace."""
    return float(given_label(example) == true_label(example))


METRIC = ExampleMetric(
    name="accuracy", title="Accuracy", source="share of rows with the right label", binary=True, score=score
)
