"""Exact match: the answer is a reference, character for character, apart from surrounding whitespace."""

from __future__ import annotations

from outcrop.evaluation.metrics.metric import Example, ExampleMetric


def score(example: Example) -> float:
    """1 where the answer equals any reference."""
    return float(example.answer.strip() in {reference.strip() for reference in example.references})


METRIC = ExampleMetric(
    name="exact_match", title="Exact match", source="string equality, whitespace trimmed", binary=True, score=score
)
