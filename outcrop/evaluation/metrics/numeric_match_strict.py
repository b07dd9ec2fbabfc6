"""Numeric match that wants the answer marked as in GSM8K: "#### 42". See numeric_match for the rest."""

from __future__ import annotations

from outcrop.evaluation.metrics.metric import Example, ExampleMetric
from outcrop.evaluation.metrics.numeric_match import marked_number, right_values


def score(example: Example) -> float:
    """1 where the number after the first "#### " has the value of a reference."""
    return float(marked_number(example.answer) in right_values(example))


METRIC = ExampleMetric(
    name="numeric_match_strict", title="Numeric match (after ####)", source="GSM8K, lm-eval strict-match, by value",
    binary=True, score=score,
)
