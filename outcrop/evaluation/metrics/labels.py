"""Closed label sets: which label an answer names, if any. The one reading of labels that all metrics share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError, UsageError, did_you_mean
from outcrop.evaluation.metrics.metric import Example


@lru_cache(maxsize=8)
def positions(labels: tuple[str, ...]) -> dict[str, int]:
    """Label → its place in the set. Surrounding whitespace does not tell labels apart; case does."""
    places = {label.strip(): index for index, label in enumerate(labels)}
    if len(places) != len(labels):
        raise UsageError("The label set names a label twice.", f"Given: {', '.join(labels[:20])}.")
    return places


def given_label(example: Example) -> int | None:
    """Place of the label that the answer is, apart from surrounding whitespace; None: it is outside the set."""
    return positions(_labels(example)).get(example.answer.strip())


def true_label(example: Example) -> int:
    """Place of the reference label. Raises DataError for several references, or one outside the set."""
    places = positions(_labels(example))
    if len(example.references) != 1:
        raise DataError(f"A row with closed labels has {len(example.references)} references.", "Give exactly one.")
    reference = example.references[0].strip()
    if reference not in places:
        raise DataError(f"The reference {reference!r:.80} is not in the label set.", did_you_mean(reference, places))
    return places[reference]


def invalid_answers(examples: Sequence[Example]) -> int:
    """How many answers are outside the closed label set."""
    return sum(given_label(example) is None for example in examples)


def confusion(examples: Sequence[Example]) -> NDArray[np.int64]:
    """Counts [labels, labels + 1] of rows by true and given label; the last column counts invalid answers."""
    size = len(_labels(examples[0]))
    counts = np.zeros((size, size + 1), dtype=np.int64)
    for example in examples:
        given = given_label(example)
        counts[true_label(example), size if given is None else given] += 1
    return counts


def _labels(example: Example) -> tuple[str, ...]:
    if not example.labels:
        raise UsageError("This metric needs a closed set of labels.", "Give the allowed labels, or choose exact_match.")
    return example.labels
