"""Kills controller, runner or trainer of a queue of jobs at random moments, and counts what it did."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from outcrop.jobs.controller import ControllerSpec
from outcrop.jobs.queue import JobRequest, Queue
from outcrop.jobs.states import LIVE

VICTIMS = ("controller", "runner", "trainer")


class Killer:
    """Submits the jobs, runs a controller as a process of its own and starts it again whenever it is dead."""

    def __init__(self, spec: ControllerSpec, requests: Sequence[JobRequest], seed: int = 0) -> None:
        self.spec, self.killed = spec, Counter[str]()
        self.queue = Queue.open(spec.database)
        self.jobs = [self.queue.submit(request) for request in requests]
        self._random = random.Random(seed)
        self._controller = self._start()

    def run(
        self, kills: int, pause_s: float, tell: Callable[[str], None] = lambda line: None, release: Path | None = None
    ) -> None:
        """Kill so often, pause_s seconds apart on average, then make the file `release` and let the rest be done.

        Ends early if all jobs have.
        """
        try:
            while self._is_working() and self.killed.total() < kills:
                time.sleep(self._random.expovariate(1 / pause_s))
                victim, pid = self._choose()
                if pid and self._kill(pid):
                    self.killed[victim] += 1
                    tell(f"kill {self.killed.total()}: {victim} {pid}")
            if release:
                release.touch()
            while self._is_working():
                time.sleep(0.1)
        finally:
            self._controller.kill()
            self._controller.wait()
            self.queue.database.close()

    def _is_working(self) -> bool:
        if self._controller.poll() is not None:
            self._controller = self._start()
        return any(self.queue.get(job).state in LIVE for job in self.jobs)

    def _choose(self) -> tuple[str, int]:
        victim = self._random.choice(VICTIMS)
        if victim == "controller":
            return victim, self._controller.pid
        owners = [owner for job in self.jobs if (owner := self.queue.get(job).owner)]
        owner = self._random.choice(owners) if owners else {}
        return victim, owner.get("pid", 0) if victim == "runner" else owner.get("child", {}).get("pid", 0)

    def _start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-P", "-m", "outcrop.jobs.controller", self.spec.model_dump_json()]
        return subprocess.Popen(words, start_new_session=True)

    def _kill(self, pid: int) -> bool:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def check_history(path: Path, steps: int) -> None:
    """Assert of a counting job: trainers one after another, each from where the last checkpoint was.

    A step may be seen twice only where its trainer was ended between doing and keeping it.
    """
    lines = [tuple(int(word) for word in line.split()) for line in path.read_text().splitlines()]
    assert {step for _, step in lines} == set(range(1, steps + 1))
    seen: list[int] = []
    for (pid, step), (pid_before, step_before) in zip(lines[1:], lines, strict=False):
        if pid == pid_before:
            assert step == step_before + 1, f"{path.name}: {step} after {step_before}"
        else:
            assert pid not in seen, f"{path.name}: two trainers at once"
            assert step in (step_before, step_before + 1), f"{path.name}: {step} after {step_before}"
            seen.append(pid_before)
