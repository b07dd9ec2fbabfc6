"""Trainings whose controller, runners and trainers are killed at random end with the weights of undisturbed ones.

Ten jobs of the service under thirty kills are in tests/service/test_recovery.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import outcrop
from outcrop.jobs.controller import ControllerSpec
from outcrop.jobs.queue import JobRequest
from outcrop.jobs.runners.local import RunnerSpec
from outcrop.jobs.states import State
from tests.support.killing import Killer

KILLS = 8


def spec(url: str) -> ControllerSpec:
    return ControllerSpec(database=url, poll_s=0.2, cpu_slots=2, gpu_slots=0, runner=RunnerSpec(lease_s=5))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_jobs_end_with_the_weights_of_undisturbed_ones(base: str, texts: str, tmp_path: Path) -> None:
    def arguments(name: str, seed: int) -> dict[str, object]:
        settings = {"epochs": 10, "batch_size": 4, "precision": "float32", "checkpoint_minutes": 0, "seed": seed}
        return {"base": base, "data": [texts], "to": str(tmp_path / name), "settings": settings}

    requests = [
        JobRequest("pretrain", arguments(f"killed-{seed}", seed), f"killed-{seed}", str(tmp_path)) for seed in range(2)
    ]
    with Killer(spec(f"sqlite:///{tmp_path / 'jobs.db'}"), len(requests)) as killer:
        jobs = [killer.queue.submit(request) for request in requests]
        killer.run(KILLS, pause_s=8)
        for seed, job_id in enumerate(jobs):
            job = killer.queue.get(job_id)
            assert job.state == State.SUCCEEDED, job
            outcrop.pretrain(**arguments(f"whole-{seed}", seed))  # type: ignore[arg-type]
            for file in ("model.safetensors", "run/journal.jsonl"):
                killed, whole = (tmp_path / f"{name}-{seed}" / file for name in ("killed", "whole"))
                assert killed.read_bytes() == whole.read_bytes(), file
