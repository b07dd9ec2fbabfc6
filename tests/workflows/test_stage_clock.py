"""The account of a run's time: stages end where others begin, and what a kill ended is counted by the next attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from outcrop.core.events import ignore
from outcrop.workflows import stage_clock
from outcrop.workflows.stage_clock import StageClock


class Time:
    """A clock that the test moves."""

    now = 100.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Time]:
    monkeypatch.setattr(stage_clock, "time", Time)
    monkeypatch.setattr(Time, "now", 100.0)
    return Time


def test_attempts_add_up(tmp_path: Path, clock: type[Time]) -> None:
    first = StageClock(tmp_path / "seconds.json")
    hear = first.heard(ignore)
    clock.now += 50  # nothing has begun
    first.enter("teacher")
    clock.now += 10
    first.enter("search")
    clock.now += 7
    hear({"event": "progress"})
    clock.now += 3  # lost by the kill
    second = StageClock(tmp_path / "seconds.json")
    second.enter("teacher")
    clock.now += 1
    second.enter("search")
    clock.now += 2
    assert second.seconds() == {"teacher": 11, "search": 9}


def test_a_run_of_a_moment_leaves_no_account(tmp_path: Path, clock: type[Time]) -> None:
    short = StageClock(tmp_path / "seconds.json")
    hear = short.heard(ignore)
    short.enter("reading")
    clock.now += 1
    hear({"event": "progress"})
    assert not list(tmp_path.iterdir())


def test_the_listener_hears_everything(tmp_path: Path) -> None:
    heard: list[object] = []
    StageClock(tmp_path / "seconds.json").heard(heard.append)({"event": "progress", "done": 1})
    assert heard == [{"event": "progress", "done": 1}]
