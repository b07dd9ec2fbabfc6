"""Which students go on: the better, and between equals those nearer to the teacher."""

from __future__ import annotations

from outcrop.core.results import Estimate
from outcrop.evaluation.distillation import Candidate, Speed
from outcrop.workflows.student_search import merit


def _candidate(name: str, quality: float) -> Candidate:
    return Candidate(name, Speed(1.0, 1.0, 1, 0.0), 1.0, 1.0, Estimate(quality, None, None, 10, ""), 3, "")


def test_quality_decides_and_the_loss_between_equals() -> None:
    tried = [_candidate("far", 0.0), _candidate("near", 0.0), _candidate("right", 0.5)]
    losses = {"far": 2.0, "near": 1.0, "right": 3.0}
    ranked = sorted(tried, key=lambda candidate: merit(candidate, losses), reverse=True)
    assert [candidate.name for candidate in ranked] == ["right", "near", "far"]
