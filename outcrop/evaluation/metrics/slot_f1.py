"""F1 of slots and their values over all rows (Coope et al. 2020, arXiv 2005.08866, §4: a part of a span is wrong)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from outcrop.core.errors import DataError
from outcrop.evaluation.metrics.metric import Example, FloatArray, SetMetric, Sums


def slots_of(text: str) -> Counter[tuple[str, str]] | None:
    """The (slot, value) pairs of a JSON object, with their number; None for a text that is none.

    A list is several values, null is none, and the slots of an object within are named with their path.
    """
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return Counter(_pairs("", value)) if isinstance(value, dict) else None


def summarise(examples: Sequence[Example]) -> Sums:
    """Per row: right pairs, given ones, true ones. An answer that is no JSON object gives none."""
    rows = np.array([_counts(example) for example in examples], dtype=np.float64)

    def value(sums: FloatArray) -> FloatArray:
        total = sums[..., 1] + sums[..., 2]
        # No pairs at all, given or true: nothing was missed.
        f1: FloatArray = np.divide(2 * sums[..., 0], total, out=np.ones_like(total), where=total > 0)
        return f1

    return Sums(rows, value)


def _counts(example: Example) -> tuple[int, int, int]:
    """Of the reference that the answer is nearest to."""
    given = slots_of(example.answer) or Counter()
    found = []
    for reference in example.references:
        true = slots_of(reference)
        if true is None:
            raise DataError(
                f"The reference {reference!r:.80} is no JSON object.",
                'Write references as {"slot": "value"}, or choose another metric.',
            )
        found.append(((given & true).total(), given.total(), true.total()))
    return max(found, key=lambda counts: (counts[0] - (counts[1] + counts[2]) / 2, counts))


def _pairs(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _pairs(f"{path}.{name}" if path else name, part)
    elif isinstance(value, list):
        for part in value:
            yield from _pairs(path, part)
    elif value is not None:
        yield path, " ".join((value if isinstance(value, str) else json.dumps(value)).split())


METRIC = SetMetric(
    name="slot_f1", title="Slot F1", source="micro-F1 of (slot, value) pairs; scikit-learn f1_score, average=micro",
    summarise=summarise,
)  # fmt: skip
