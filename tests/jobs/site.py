"""A machine that runs counting jobs, with its controller inside the test: short leases, real runners and trainers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from outcrop.jobs.controller import Controller, ControllerSpec
from outcrop.jobs.queue import JobRequest, Queue
from outcrop.jobs.runners.local import RunnerSpec
from outcrop.store.jobs import JobRow

TRAINER = "tests.support.counting"


class Site:
    """lease_s: of the runners; grace_s: after a request to stop. The test calls `turn` through `until`."""

    def __init__(self, url: str, folder: Path, *, lease_s: float = 20.0, grace_s: float = 60.0, slots: int = 1) -> None:
        runner = RunnerSpec(lease_s=lease_s, grace_s=grace_s, trainer=TRAINER)
        self.spec = ControllerSpec(database=url, cpu_slots=slots, gpu_slots=0, runner=runner)
        self.folder = folder
        self.controller = Controller(self.spec)
        self.queue: Queue = self.controller.queue

    def close(self) -> None:
        """End what is left of the controller: its runners, its connections."""
        for started in self.controller._runners.values():
            started.process.kill()
            started.process.wait()
        self.queue.database.close()

    def submit(self, name: str = "out", **arguments: Any) -> str:
        """Queue a counting job that makes the folder of this name."""
        arguments = {"to": name, "steps": 5} | arguments
        return self.queue.submit(JobRequest("count", arguments, name, str(self.folder)))

    def until(self, reached: Callable[[], object], *, turning: bool = True) -> None:
        """Wait for something to be so, while the controller works."""
        while not reached():
            if turning:
                self.controller.turn()
            time.sleep(0.05)

    def finish(self) -> None:
        """Work until nothing is left to do."""
        self.until(lambda: not self.controller.has_work)

    def run(self, **arguments: Any) -> JobRow:
        """Submit a job and work until it has ended."""
        job_id = self.submit(**arguments)
        self.finish()
        return self.queue.get(job_id)

    def trains(self, job_id: str, step: int = 1) -> Callable[[], bool]:
        """Whether the job has made a checkpoint of this step, or a later one."""
        return lambda: ((self.queue.get(job_id).progress or {}).get("checkpoint") or 0) >= step

    def pids(self, job_id: str) -> tuple[int, int]:
        """The processes of the runner and of the trainer."""
        owner = self.queue.get(job_id).owner
        assert owner is not None, "nobody works on the job"
        return owner["pid"], owner["child"]["pid"]

    def steps(self, name: str = "out") -> list[int]:
        """What was trained, in order."""
        return [int(line.split()[1]) for line in (self.folder / f"{name}.history").read_text().splitlines()]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
