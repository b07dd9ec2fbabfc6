"""How sure a student must be to answer in its teacher's place: calibrated confidence, and a threshold that is safe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from outcrop.core.statistics import NonInferiority
from outcrop.evaluation.loss import measured_loss
from outcrop.evaluation.metrics.metric import Example, FloatArray, Metric

STEPS = 40
"""Shares of the rows that are tried, evenly: the most confident 1/40, 2/40 … all."""
BINS = 10
NEWTON_STEPS = 100
LEAST_SLOPE = 1e-3
"""Of a student whose probabilities say nothing of its answers: confidence keeps their order."""


class Calibration(NamedTuple):
    """confidence = σ(slope · logit(probability) + offset)."""

    slope: float
    offset: float


class Threshold(NamedTuple):
    """confidence: from which on the student answers, 1 for never; share of the rows that it then answered; found: the
    cascade against the teacher on these rows, None where the student answers none."""

    confidence: float
    share: float
    found: NonInferiority | None


def row_scores(metric: Metric, examples: Sequence[Example]) -> FloatArray:
    """Each row's score from 0 to 1, also by a metric that is made for sets."""
    width = metric.high - metric.low
    return np.array([(metric.score_set([example]) - metric.low) / width for example in examples])


def calibrate(logits: FloatArray, right: FloatArray) -> Calibration:
    """Platt's scaling, its targets drawn in as he does, so that it is finite (Platt 1999, eq. 1, with n₊ and n₋ rows).

    logits: of the student's probabilities [n]; right: the scores of its answers, from 0 to 1 [n].
    """
    good = float(right.sum())
    bad = len(right) - good
    target = right * (good + 1) / (good + 2) + (1 - right) / (bad + 2)
    columns = np.stack([logits, np.ones_like(logits)], axis=1)
    found = np.array([1.0, 0.0])
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(columns @ found, -30, 30)))
        slope = columns.T @ (target - chance) - 1e-6 * found
        curvature = (columns * (chance * (1 - chance))[:, None]).T @ columns + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        found = found + step * min(1.0, 4 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-9:
            break
    if found[0] < LEAST_SLOPE:
        share = (good + 1) / (len(right) + 2)
        return Calibration(LEAST_SLOPE, float(np.log(share / (1 - share)) - LEAST_SLOPE * logits.mean()))
    return Calibration(float(found[0]), float(found[1]))


def choose_threshold(
    metric: Metric, teacher: Sequence[Example], student: Sequence[Example], confidences: FloatArray, within: float, *,
    seed: int = 0,
) -> Threshold:  # fmt: skip
    """The lowest threshold by which at most `within` points are lost, with 95 % confidence.

    Thresholds are tested from the highest down, each by the bound of `measured_loss`, until the first that fails: such
    a fixed sequence needs no correction for its many tests (Angelopoulos et al. 2021, Learn then Test, arXiv
    2110.01052, §2.3). Rows of equal confidence are never parted.
    """
    order = np.argsort(-confidences, kind="stable")
    ranked = confidences[order]
    chosen = Threshold(1.0, 0.0, None)
    for count in _counts(ranked):
        mixed = list(teacher)
        for row in order[:count]:
            mixed[row] = student[row]
        found = measured_loss(metric, teacher, mixed, within, seed=seed)
        if not found.shown:
            break
        below = ranked[count] if count < len(ranked) else 0.0
        limit = (ranked[count - 1] + below) / 2 if count < len(ranked) else 0.0
        chosen = Threshold(float(limit), count / len(ranked), found)
    return chosen


def calibration_error(confidences: FloatArray, right: FloatArray) -> float:
    """Expected calibration error in bins of equally many rows (Naeini et al. 2015, §3; equal mass)."""
    order = np.argsort(confidences, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return float(sum(len(p) * abs(confidences[p].mean() - right[p].mean()) for p in parts) / len(confidences))


def _counts(ranked: FloatArray) -> list[int]:
    """How many of the most confident rows are the student's, ascending; ties together."""
    wanted = {max(1, round(len(ranked) * step / STEPS)) for step in range(1, STEPS + 1)}
    ends = {int(np.searchsorted(-ranked, -ranked[count - 1], side="right")) for count in wanted}
    return sorted(ends)
