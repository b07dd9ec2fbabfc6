"""The controller: starts a runner for every queued job that a slot is free for, and buries what was lost."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from outcrop.core import settings
from outcrop.core.errors import StoreUnavailable
from outcrop.core.spec import Spec, parameter
from outcrop.jobs import processes, slots
from outcrop.jobs.queue import Queue
from outcrop.jobs.runners.local import RunnerSpec, RunnerTask

LONGEST_PAUSE_S = 60.0
"""Between two starts of a runner that does not get as far as claiming its job."""
IDLE_S = 60.0
"""How long a controller that was started for jobs waits for others."""


class ControllerSpec(Spec):
    """How a controller works. None for slots: what this machine has."""

    database: str = parameter("", "URL of the database; empty: the one of OUTCROP_DATABASE")
    poll_s: float = parameter(1.0, "time between two looks at the queue", unit="seconds", gt=0)
    idle_s: float | None = parameter(None, "end after so long without jobs; None: never", unit="seconds", ge=0)
    cpu_slots: int | None = parameter(None, "jobs at once without a GPU", ge=0)
    gpu_slots: int | None = parameter(None, "jobs at once with one GPU each", ge=0)
    runner: RunnerSpec = parameter(RunnerSpec(), "how attempts are run")


@dataclass
class Started:
    """A runner that was started for attempt `attempt` + 1 of a job; failures: starts before it that claimed nothing."""

    process: subprocess.Popen[bytes]
    attempt: int
    failures: int


class Controller:
    """Looks after a queue on one machine. It may be killed: runners live on, and the next controller takes over."""

    def __init__(self, spec: ControllerSpec) -> None:
        self.spec = spec
        self.url = spec.database or settings.database()
        self.queue = Queue.open(self.url)
        given = {"cpu": spec.cpu_slots, "gpu": spec.gpu_slots}
        self.capacity = {device: slots.capacity()[device] if n is None else n for device, n in given.items()}
        self._runners: dict[str, Started] = {}
        self._failures: dict[str, tuple[int, float]] = {}

    def run(self) -> None:
        """Work until there has been nothing to do for idle_s."""
        busy_at = time.monotonic()
        while True:
            try:
                self.turn()
                busy = self.has_work
            except StoreUnavailable as error:
                sys.stderr.write(f"controller: {error}\n")
                busy = True
            busy_at = time.monotonic() if busy else busy_at
            if self.spec.idle_s is not None and time.monotonic() - busy_at >= self.spec.idle_s:
                return
            time.sleep(self.spec.poll_s)

    @property
    def has_work(self) -> bool:
        """Whether a job has not ended, or a runner started here still lives."""
        return bool(self._runners or self.queue.unfinished())

    def turn(self) -> None:
        """Look once: bury what was lost, start what waits."""
        self._reap()
        for job in self.queue.overdue():
            for process in (job.owner or {}, (job.owner or {}).get("child") or {}):
                if process:
                    processes.kill_group(process)
            self.queue.give_up(job)
        for device, count in self.capacity.items():
            for job in self.queue.waiting(device):
                pause_until = self._failures.get(job.id, (0, 0.0))[1]
                if job.id in self._runners or time.monotonic() < pause_until:
                    continue
                slot = slots.take(device, count)
                if slot is None:
                    break
                self._start(job.id, job.attempt, slot)

    def _start(self, job_id: str, attempt: int, slot: slots.Slot) -> None:
        gpu = slot.number if slot.device == "gpu" else None
        task = RunnerTask(database=self.url, job_id=job_id, slot=slot.descriptor, gpu=gpu, spec=self.spec.runner)
        try:
            # In a session of its own: what ends this process does not end the runner.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "outcrop.jobs.runners.local", task.model_dump_json()],
                stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=(slot.descriptor,),
            )  # fmt: skip
        finally:
            slot.release()
        self._runners[job_id] = Started(process, attempt, self._failures.get(job_id, (0, 0.0))[0])

    def _reap(self) -> None:
        for job_id, started in list(self._runners.items()):
            if started.process.poll() is None:
                continue
            del self._runners[job_id]
            if self.queue.get(job_id).attempt > started.attempt:
                self._failures.pop(job_id, None)
            else:
                failures = started.failures + 1
                pause_s = min(LONGEST_PAUSE_S, self.spec.poll_s * 2**failures)
                self._failures[job_id] = (failures, time.monotonic() + pause_s)


@contextmanager
def only_one() -> Iterator[bool]:
    """Whether this process is now the controller of OUTCROP_HOME; it stays so within the block."""
    folder = settings.home()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "controller.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_running() -> bool:
    """Whether a controller looks after the queue of OUTCROP_HOME."""
    with only_one() as alone:
        return not alone


def start(spec: ControllerSpec) -> bool:
    """Start a controller in the background unless one runs; returns whether one was started."""
    if is_running():
        return False
    log = os.open(settings.home() / "controller.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        subprocess.Popen(
            [sys.executable, "-P", "-m", "outcrop.jobs.controller", spec.model_dump_json()],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=settings.home(),
        )  # fmt: skip
    finally:
        os.close(log)
    return True


def main(argument: str) -> int:
    """Be the controller that the JSON describes, unless there is one; returns the exit code."""
    spec = ControllerSpec.model_validate_json(argument)
    while True:
        with only_one() as alone:
            if not alone:
                return 0
            controller = Controller(spec)
            controller.run()
        # Whoever queued a job just before saw the lock taken and started nobody.
        if not controller.queue.unfinished():
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
