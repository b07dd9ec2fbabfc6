"""What a distillation costs and when it is paid for: hand-computed accounts, with and without prices."""

from __future__ import annotations

import pytest

from outcrop.evaluation.cost import NO_SAVING, UNPRICED_MACHINE, UNPRICED_TEACHER, Cost, RunningCost, reckon
from outcrop.evaluation.notation import figures

STAGES = {"teacher": 100.0, "search": 50.0, "training": 210.0}
LOCAL, STUDENT = RunningCost(40.0, None, 9.0), RunningCost(4.0, None, 3.0)


def test_without_a_price_all_is_told_in_seconds_of_the_machine() -> None:
    found = reckon(LOCAL, STUDENT, STAGES, hourly_price=None)
    assert found.machine_s == 360
    assert found.break_even == 10_000  # 360 s / (0.040 s − 0.004 s)
    assert found.break_even_hours == pytest.approx(10 * 40 / 3600)
    assert (found.usd, found.teacher.usd, found.student.usd) == (None, None, None)
    assert "USD" not in found.sentence
    assert "paid for after 10,000 requests (0.111 hours of the teacher)" in found.sentence


def test_the_price_of_the_common_machine_changes_no_break_even() -> None:
    found = reckon(LOCAL, STUDENT, STAGES, hourly_price=1.8)
    assert found.teacher.usd == pytest.approx(0.02)
    assert found.student.usd == pytest.approx(0.002)
    assert found.usd == pytest.approx(0.18)
    assert found.break_even == reckon(LOCAL, STUDENT, STAGES, hourly_price=None).break_even
    assert "0.0200 USD with the teacher" in found.sentence


def test_a_remote_teacher_breaks_even_in_money() -> None:
    remote = RunningCost(None, 1.002, 9.0)
    found = reckon(remote, STUDENT, STAGES, hourly_price=1.8, answers_usd=2.0)
    assert found.usd == pytest.approx(2.18)
    assert found.break_even == 2180  # 2.18 USD / (0.001002 − 0.000002)
    assert found.break_even_hours is None


def test_a_missing_price_is_named() -> None:
    unpriced = reckon(RunningCost(None, None, 9.0), STUDENT, STAGES, hourly_price=1.8)
    assert (unpriced.break_even, unpriced.why_not, unpriced.usd) == (None, UNPRICED_TEACHER, None)
    assert "an unknown price with the teacher" in unpriced.sentence
    half = reckon(RunningCost(None, 1.0, 9.0), STUDENT, STAGES, hourly_price=None, answers_usd=2.0)
    assert (half.break_even, half.why_not) == (None, UNPRICED_MACHINE)
    assert "360 seconds of this machine and 2.00 USD for answers" in half.sentence


def test_a_student_that_saves_nothing_is_never_paid_for() -> None:
    found = reckon(STUDENT, STUDENT, STAGES, hourly_price=None)
    assert (found.break_even, found.why_not) == (None, NO_SAVING)
    assert NO_SAVING in found.sentence


def test_an_account_comes_back_from_json() -> None:
    found = reckon(LOCAL, STUDENT, STAGES, hourly_price=None)
    assert Cost.from_dict(found.as_dict()) == found


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.00123, "0.00123"), (12.34, "12.3"), (1234.5, "1,234"), (-0.5, "-0.500")]
)
def test_figures_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert figures(value) == text
