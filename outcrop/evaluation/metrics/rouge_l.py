"""ROUGE-L F-measure (Lin 2004) by the rouge-score package with stemming, best of the references."""

from __future__ import annotations

from importlib.metadata import version

from rouge_score import rouge_scorer

from outcrop.evaluation.metrics.metric import Example, ExampleMetric

_SCORER = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)


def score(example: Example) -> float:
    """F-measure of the longest common subsequence. Equal texts score 1, also where ROUGE sees no word of them."""
    if example.answer.strip() in {reference.strip() for reference in example.references}:
        return 1.0
    return max(float(_SCORER.score(reference, example.answer)["rougeL"].fmeasure) for reference in example.references)


METRIC = ExampleMetric(
    name="rouge_l", title="ROUGE-L", source="rouge-score, F-measure, max over references",
    signature=lambda examples: f"rouge-score:{version('rouge-score')}|rougeL|stemmer:yes|fmeasure", score=score,
)
