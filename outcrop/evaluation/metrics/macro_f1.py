"""Macro-F1 over a fixed label set: scikit-learn's f1_score(labels=…, average="macro", zero_division=0)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from outcrop.evaluation.metrics.labels import given_label, positions, true_label
from outcrop.evaluation.metrics.metric import Example, FloatArray, SetMetric, Sums


def summarise(examples: Sequence[Example]) -> Sums:
    """Per row, for every label: right, given, true. An invalid answer is given no label, so it only costs recall.

    A label that is in the set but drawn by no row of a resample has no F1 there and is left out of that resample's
    mean; counted as 0 it would pull intervals below the score whenever labels are rare.
    """
    true = np.array([true_label(example) for example in examples])
    size = len(positions(examples[0].labels or ()))
    given = np.array([size if (label := given_label(example)) is None else label for example in examples])
    rows = np.zeros((len(examples), 3, size + 1))
    index = np.arange(len(examples))
    rows[index, 0, true] = true == given
    rows[index, 1, given] = 1
    rows[index, 2, true] = 1
    rows = rows[:, :, :size]
    absent = int((rows[:, 1:].sum(axis=(0, 1)) == 0).sum())

    def value(sums: FloatArray) -> FloatArray:
        right, answered, actual = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, size), -2, 0)
        total = answered + actual
        f1 = np.divide(2 * right, total, out=np.zeros_like(total), where=total > 0)
        mean: FloatArray = f1.sum(axis=-1) / ((total > 0).sum(axis=-1) + absent)
        return mean

    return Sums(rows.reshape(len(examples), 3 * size), value)


METRIC = SetMetric(
    name="macro_f1", title="Macro-F1", source="scikit-learn f1_score, fixed labels, zero_division=0",
    summarise=summarise,
)
