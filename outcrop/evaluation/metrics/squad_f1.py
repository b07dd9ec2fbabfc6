"""F1 of word overlap with SQuAD v2's normalisation, best of the references (Rajpurkar et al. 2018, evaluate-v2.0)."""

from __future__ import annotations

import re
import string
from collections import Counter

from outcrop.evaluation.metrics.metric import Example, ExampleMetric

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> list[str]:
    """Words in lower case, without ASCII punctuation and without a, an, the."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def answerable(references: tuple[str, ...]) -> tuple[str, ...]:
    """The references that say something; none of them means that the right answer is to give none."""
    return tuple(reference for reference in references if normalise(reference)) or ("",)


def overlap(given: list[str], wanted: list[str]) -> float:
    """F1 of two bags of words; two empty ones agree, an empty one agrees with nothing else."""
    if not given or not wanted:
        return float(given == wanted)
    shared = sum((Counter(given) & Counter(wanted)).values())
    return 2 * shared / (len(given) + len(wanted))


def score(example: Example) -> float:
    """The best overlap with any reference."""
    given = normalise(example.answer)
    return max(overlap(given, normalise(reference)) for reference in answerable(example.references))


METRIC = ExampleMetric(
    name="squad_f1", title="Word F1", source="SQuAD v2.0 evaluation script, max over references", score=score
)
