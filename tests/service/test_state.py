"""What a server starts besides itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from outcrop.jobs import controller
from outcrop.jobs.controller import ControllerSpec
from outcrop.jobs.queue import JobRequest
from outcrop.service.spec import ServeSpec
from outcrop.service.state import Service


@pytest.mark.parametrize("wanted", [True, False])
def test_jobs_without_a_controller_get_one(wanted: bool, outcrop_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[ControllerSpec] = []
    monkeypatch.setattr(controller, "start", started.append)
    service = Service(ServeSpec(start_controller=wanted))
    service.look_after_jobs()
    assert not started
    service.queue.submit(JobRequest("customize", {}, str(outcrop_home / "out"), str(outcrop_home)))
    service.look_after_jobs()
    service.close()
    assert [spec.idle_s is not None for spec in started] == [True] * wanted
