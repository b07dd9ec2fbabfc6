"""Exact match after SQuAD v2's normalisation, best of the references (Rajpurkar et al. 2018, evaluate-v2.0)."""

from __future__ import annotations

from outcrop.evaluation.metrics.metric import Example, ExampleMetric
from outcrop.evaluation.metrics.squad_f1 import answerable, normalise


def score(example: Example) -> float:
    """1 where the normalised answer equals any normalised reference."""
    given = normalise(example.answer)
    return float(any(given == normalise(reference) for reference in answerable(example.references)))


METRIC = ExampleMetric(
    name="squad_exact_match", title="Normalised exact match",
    source="SQuAD v2.0 evaluation script, max over references", binary=True, score=score,
)
