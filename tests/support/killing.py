"""Kills server, controller, runners or trainers of a queue of jobs at random moments, and counts what it did."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from outcrop.jobs import controller
from outcrop.jobs.controller import ControllerSpec
from outcrop.jobs.queue import Queue
from outcrop.jobs.states import LIVE
from tests.support.serving import start_controller


class Kept(NamedTuple):
    """A process that is kept alive: what starts it, and whether it is at work."""

    start: Callable[[], subprocess.Popen[bytes]]
    is_up: Callable[[], bool]


class Killer:
    """Keeps a controller and further processes alive, starting each again whenever it is dead.

    expected: how many jobs will be queued, by whoever; others: what else is kept and killed, by name.
    """

    def __init__(self, spec: ControllerSpec, expected: int, others: Mapping[str, Kept] | None = None) -> None:
        self.expected, self.killed = expected, Counter[str]()
        self.queue = Queue.open(spec.database)
        self._random = random.Random(0)
        self._kept = {"controller": Kept(lambda: start_controller(spec), controller.is_running), **(others or {})}
        self._processes = {name: kept.start() for name, kept in self._kept.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self.queue.database.close()

    def run(
        self, kills: int, pause_s: float, tell: Callable[[str], None] = lambda line: None, release: Path | None = None
    ) -> None:
        """Kill so often, each kind of process equally, pause_s seconds apart on average; then make the file `release`
        and let the rest be done.

        Each kill waits until such a process is at work. Ends early if all jobs have.
        """
        kinds = [*self._kept, "runner", "trainer"]
        victims = (kinds * kills)[:kills]
        self._random.shuffle(victims)
        for victim in victims:
            time.sleep(self._random.expovariate(1 / pause_s))
            while (working := self._is_working()) and not self._kill(self._pid(victim)):
                time.sleep(0.05)
            if not working:
                return
            self.killed[victim] += 1
            tell(f"kill {self.killed.total()}: {victim}")
        if release:
            release.touch()
        while self._is_working():
            time.sleep(0.1)

    def _is_working(self) -> bool:
        for name, process in self._processes.items():
            if process.poll() is not None:
                self._processes[name] = self._kept[name].start()
        jobs = self.queue.newest()
        return len(jobs) < self.expected or any(job.state in LIVE for job in jobs)

    def _pid(self, victim: str) -> int:
        """Of a process of this kind that is at work, 0 where there is none."""
        if victim in self._kept:
            return self._processes[victim].pid if self._kept[victim].is_up() else 0
        owners = [job.owner for job in self.queue.unfinished() if job.owner]
        owner = self._random.choice(owners) if owners else {}
        return int(owner.get("pid", 0) if victim == "runner" else owner.get("child", {}).get("pid", 0))

    def _kill(self, pid: int) -> bool:
        try:
            os.kill(pid, signal.SIGKILL) if pid else None
        except ProcessLookupError:
            return False
        return bool(pid)


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
