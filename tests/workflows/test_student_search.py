"""Which students go on: those that are fast enough, and of them the better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.events import ignore
from outcrop.core.results import Estimate
from outcrop.evaluation.distillation import Candidate, Speed, Target
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.student_search import STUDENT, TEACHER, Search, merit
from outcrop.workflows.student_training import Course
from outcrop.workflows.students import Student


def _candidate(name: str, quality: float) -> Candidate:
    return Candidate(name, Speed(1.0, 1.0, 1, 0.0), 1.0, 1.0, Estimate(quality, None, None, 10, ""), 3, "")


def test_quality_decides_and_the_loss_between_equals() -> None:
    tried = [_candidate("far", 0.0), _candidate("near", 0.0), _candidate("right", 0.5)]
    losses = {"far": 2.0, "near": 1.0, "right": 3.0}
    ranked = sorted(tried, key=lambda candidate: merit(candidate, losses), reverse=True)
    assert [candidate.name for candidate in ranked] == ["right", "near", "far"]


@pytest.mark.parametrize(
    ("times", "timings", "found"),
    [((4.4, 6.0, 5.5), 3, 5.5), ((5.6, 4.0, 4.5), 3, 4.5), ((4.2, 9.0, 9.0), 1, 4.2), ((5.8, 1.0, 1.0), 1, 5.8)],
)
def test_one_timing_near_the_bar_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: Sequence[float], timings: int, found: float
) -> None:
    measured: list[float] = []

    def against(self: Search, *_: Any) -> dict[str, Speed]:
        measured.append(times[len(measured)])
        return {TEACHER: Speed(100.0, 10.0, 9, 36.0), STUDENT: Speed(100 / measured[-1], 10 * measured[-1], 1, 4.0)}

    monkeypatch.setattr(Search, "_against", against)
    student = Student("small", lambda: pytest.fail("nothing is trained"), None, "big")
    course = Course([], [], [], None, {})
    search = Search(Target(2, 5), course, TrainingSpec(), {}, None, tmp_path, ignore)
    again = [search.find([student], None, [], 1, 1).candidates[0] for _ in range(2)]  # type: ignore[arg-type]
    assert len(measured) == timings
    assert [(each.faster, each.throughput) for each in again] == [pytest.approx((found, found))] * 2
