"""Which students go on: those that are fast enough, and of them the better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from outcrop.core.events import ignore
from outcrop.core.results import Estimate
from outcrop.evaluation.distillation import Candidate, Speed, Target
from outcrop.models.loading import LoadedModel
from outcrop.training.spec import TrainingSpec
from outcrop.workflows import student_search
from outcrop.workflows.speed import Timings
from outcrop.workflows.student_search import INT8, STUDENT, TEACHER, Search, merit
from outcrop.workflows.student_training import Course
from outcrop.workflows.students import Student
from tests.support.tiny import tiny_model


def _candidate(name: str, quality: float) -> Candidate:
    return Candidate(name, Speed(1.0, 1.0, 1, 0.0), 1.0, 1.0, Estimate(quality, None, None, 10, ""), 3, "")


def test_quality_decides_and_the_loss_between_equals() -> None:
    tried = [_candidate("far", 0.0), _candidate("near", 0.0), _candidate("right", 0.5)]
    losses = {"far": 2.0, "near": 1.0, "right": 3.0}
    ranked = sorted(tried, key=lambda candidate: merit(candidate, losses), reverse=True)
    assert [candidate.name for candidate in ranked] == ["right", "near", "far"]


@pytest.mark.parametrize(
    ("times", "timings", "found"),
    [((4.4, 6.0, 5.5), 3, 5.5), ((5.6, 4.0, 4.5), 3, 4.5), ((3.4, 9.0, 9.0), 1, 3.4), ((6.6, 1.0, 1.0), 1, 6.6)],
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


@pytest.mark.parametrize(("whole", "taken"), [((5.0, 30.0), (5.0, 30.0)), ((5.0, 18.0), (10.0, 20.0))])
def test_the_faster_way_to_serve_a_student_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuple[float, float], taken: tuple[float, float]
) -> None:
    """Milliseconds and rows per second; int8 that is slower in one of both is none."""
    speeds = {TEACHER: (50.0, 4.0), STUDENT: (10.0, 20.0), INT8: whole}

    def raced(models: dict[str, Any], *_: Any, **__: Any) -> dict[str, Timings]:
        return {name: Timings(np.array([speeds[name][0]]), np.array([speeds[name][1]]), 9, 1, 4.0) for name in models}

    monkeypatch.setattr(student_search, "race", raced)
    loaded = LoadedModel(None, tiny_model(), None, None)  # type: ignore[arg-type]
    student, teacher = Student("small", lambda: loaded, None, "big"), LocalTeacherLike(loaded)
    search = Search(Target(2, 5), Course([], [], [], None, {}), TrainingSpec(), {}, None, tmp_path, ignore, int8=True)
    found = search.find([student], teacher, [], 1, 1).candidates[0]  # type: ignore[arg-type]
    assert (found.speed.p50_ms, found.speed.rows_per_s) == taken
    assert found.int8 is (taken == whole)


class LocalTeacherLike(NamedTuple):
    """All that is asked of a teacher whose speed is measured."""

    loaded: Any
