"""Queued jobs whose controller, runners and trainers are killed at random end as if nobody had touched them."""

from __future__ import annotations

from pathlib import Path

import pytest

import outcrop
from outcrop.jobs.controller import ControllerSpec
from outcrop.jobs.queue import JobRequest
from outcrop.jobs.runners.local import RunnerSpec
from outcrop.jobs.states import State
from tests.support.killing import Killer, check_history

KILLS = 8


def spec(url: str, trainer: str, slots: int) -> ControllerSpec:
    runner = RunnerSpec(lease_s=5, trainer=trainer)
    return ControllerSpec(database=url, poll_s=0.2, cpu_slots=slots, gpu_slots=0, runner=runner)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_jobs_and_eight_kills(database_url: str, tmp_path: Path) -> None:
    # The last two jobs hold until the last kill, so that on no machine all are done before it.
    release = tmp_path / "release"
    requests = [
        JobRequest(
            "count",
            {"to": f"out-{n}", "steps": 30, "seconds": 0.1, "hold": str(release) if n >= 8 else ""},
            f"out-{n}",
            str(tmp_path),
        )
        for n in range(10)
    ]
    killer = Killer(spec(database_url, "tests.support.counting", 2), requests)
    killer.run(KILLS, pause_s=1, release=release)
    assert killer.killed.total() == KILLS
    for number, job_id in enumerate(killer.jobs):
        job = killer.queue.get(job_id)
        assert job.state == State.SUCCEEDED, job
        assert (job.result or {})["steps"] == 30
        check_history(tmp_path / f"out-{number}.history", 30)
        numbers = [event.number for event in killer.queue.events(job_id)]
        assert numbers == list(range(1, job.event_count + 1))
    killer.queue.database.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_jobs_end_with_the_weights_of_undisturbed_ones(base: str, texts: str, tmp_path: Path) -> None:
    def arguments(name: str, seed: int) -> dict[str, object]:
        settings = {"epochs": 10, "batch_size": 4, "precision": "float32", "checkpoint_minutes": 0, "seed": seed}
        return {"base": base, "data": [texts], "to": str(tmp_path / name), "settings": settings}

    requests = [
        JobRequest("pretrain", arguments(f"killed-{seed}", seed), f"killed-{seed}", str(tmp_path)) for seed in range(2)
    ]
    killer = Killer(spec(f"sqlite:///{tmp_path / 'jobs.db'}", RunnerSpec().trainer, 2), requests)
    killer.run(KILLS, pause_s=8)
    for seed, job_id in enumerate(killer.jobs):
        job = killer.queue.get(job_id)
        assert job.state == State.SUCCEEDED, job
        outcrop.pretrain(**arguments(f"whole-{seed}", seed))  # type: ignore[arg-type]
        for file in ("model.safetensors", "run/journal.jsonl"):
            killed, whole = (tmp_path / f"{name}-{seed}" / file for name in ("killed", "whole"))
            assert killed.read_bytes() == whole.read_bytes(), file
    killer.queue.database.close()
