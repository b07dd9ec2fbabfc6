"""Thresholds that are safe: the bound on the loss holds on data whose true loss is known."""

from __future__ import annotations

import numpy as np
import pytest

from outcrop.evaluation.cascade import Threshold, calibrate, calibration_error, choose_threshold, row_scores
from outcrop.evaluation.metrics.catalog import METRICS
from outcrop.evaluation.metrics.metric import Example

EXACT = METRICS.load("exact_match")


def examples(right: np.ndarray) -> list[Example]:
    return [Example("?", ("yes",), "yes" if value else "no") for value in right]


def drawn(rows: int, seed: int, *, slope: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences, and whether teacher and student are right; the student errs more, the less sure it is."""
    generator = np.random.default_rng(seed)
    sure = generator.random(rows)
    student = generator.random(rows) < 1 / (1 + np.exp(-slope * (sure - 0.2)))
    teacher = generator.random(rows) < 0.93
    return sure, teacher, student


def true_loss(threshold: float, *, slope: float = 4.0) -> float:
    """Of the distribution that `drawn` draws from."""
    sure = (np.arange(200_000) + 0.5) / 200_000
    gain = 0.93 - 1 / (1 + np.exp(-slope * (sure - 0.2)))
    return float(np.where(sure >= threshold, gain, 0).mean())


def chosen(rows: int, seed: int, within: float = 2.0) -> Threshold:
    sure, teacher, student = drawn(rows, seed)
    return choose_threshold(EXACT, examples(teacher), examples(student), sure, within)


def test_the_bound_is_violated_in_at_most_5_of_100_samples() -> None:
    found = [chosen(600, seed) for seed in range(300)]
    violated = np.mean([each.found is not None and true_loss(each.confidence) > 0.02 for each in found])
    assert violated <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean([each.share for each in found]) > 0.1  # safe, and of use


def test_more_rows_let_the_student_answer_more() -> None:
    few, many = chosen(200, 1), chosen(20_000, 1)
    assert few.share < many.share < 1
    assert true_loss(many.confidence) < 0.02


def test_a_student_as_good_as_its_teacher_answers_all() -> None:
    sure, teacher, _ = drawn(1000, 0)
    found = choose_threshold(EXACT, examples(teacher), examples(teacher), sure, 2.0)
    assert (found.confidence, found.share) == (0.0, 1.0)


def test_a_student_that_is_always_wrong_answers_nothing() -> None:
    sure, teacher, student = drawn(1000, 0)
    found = choose_threshold(EXACT, examples(teacher | True), examples(student & False), sure, 2.0)
    assert (found.confidence, found.share, found.found) == (1.0, 0.0, None)


def test_too_few_rows_show_nothing() -> None:
    sure, teacher, _ = drawn(40, 0)
    assert choose_threshold(EXACT, examples(teacher), examples(teacher), sure, 2.0).found is None


def test_rows_of_equal_confidence_are_not_parted() -> None:
    _, teacher, student = drawn(1000, 0)
    sure = np.repeat([0.9, 0.5], 500)
    found = choose_threshold(EXACT, examples(teacher), examples(teacher), sure, 2.0)
    assert found.share == 1.0
    half = choose_threshold(
        EXACT, examples(teacher), examples(np.concatenate([teacher[:500], student[500:] & False])), sure, 2.0
    )
    assert half.share == 0.5
    assert 0.5 < half.confidence < 0.9


def test_metrics_of_sets_are_bounded_too() -> None:
    rows = [Example("?", ('{"n": "2"}',), '{"n": "2"}')] * 500
    wrong = [Example("?", ('{"n": "2"}',), '{"n": "3"}')] * 500
    sure = np.linspace(1, 0, 500)
    metric = METRICS.load("slot_f1")
    found = choose_threshold(metric, rows, [*rows[:300], *wrong[:200]], sure, 2.0)
    assert 0.5 < found.share <= 0.6
    assert row_scores(metric, [rows[0], wrong[0]]).tolist() == [1.0, 0.0]


def test_calibration_finds_the_curve_it_was_drawn_from() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(2, 2, 20_000)
    right = (generator.random(20_000) < 1 / (1 + np.exp(-(0.6 * logits - 0.5)))).astype(float)
    found = calibrate(logits, right)
    assert found == pytest.approx((0.6, -0.5), abs=0.06)
    assert calibration_error(1 / (1 + np.exp(-(found.slope * logits + found.offset))), right) < 0.02


@pytest.mark.parametrize("right", [np.ones(50), np.zeros(50), np.arange(50) < 25], ids=["all", "none", "the wrong way"])
def test_calibration_is_finite_and_keeps_the_order(right: np.ndarray) -> None:
    found = calibrate(np.linspace(-3, 16, 50), right.astype(float))
    assert np.isfinite(found).all()
    assert found.slope > 0
