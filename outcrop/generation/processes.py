"""Engines that run as processes of their own: started with a folder and a mark, and never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from outcrop.core import settings
from outcrop.generation import guard

GRACE_S = 10.0
"""How long an engine may take to end by itself, by default; then it is killed."""
TAIL_LINES = 12
LOG = "log.txt"
OURS_ALONE = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
"""Variables that are meant for this process's own environment and would mislead another one."""

_numbers = count()


class EngineProcess:
    """A command in a session of its own, under a guard that ends its whole tree when this process ends, however.

    folder: for its files and its log; removed with it.
    """

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self.mark = f"{os.getpid()}-{_start(os.getpid())}-{next(_numbers)}"
        self.folder = engines_folder() / self.mark
        self.folder.mkdir(parents=True, mode=0o700)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it. environment: variables beside those of this process. Raises OSError."""
        inherited = {name: value for name, value in os.environ.items() if name not in OURS_ALONE}
        own = {guard.MARK: self.mark, "SPT_NOENV": "1"}  # setproctitle would write over the mark
        with (self.folder / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, str(os.getpid()), str(self._grace_s), *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.folder,
                env={**inherited, **environment, **own},
            )  # fmt: skip

    @property
    def running(self) -> bool:
        """Whether the command, and its guard, are alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the command, once it has ended; 128 and the number of a signal."""
        return None if self._process is None else self._process.poll()

    def last_words(self) -> str:
        """The end of its log."""
        try:
            lines = (self.folder / LOG).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join([line for line in lines if line.strip()][-TAIL_LINES:])

    def stop(self) -> None:
        """End it, kill what has not ended after its grace, and remove its folder. Again is no error."""
        if self._process is not None:
            if self.running:
                self._process.send_signal(signal.SIGTERM)
                try:
                    self._process.wait(self._grace_s + 5)
                except subprocess.TimeoutExpired:
                    self._process.kill()
            guard.kill_tree(self.mark)
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def engines_folder() -> Path:
    """Where the files of running engines lie, a folder each."""
    return settings.home() / "engines"


def reap() -> list[str]:
    """End the engines whose owners are gone, and remove their folders; the marks of those that were found."""
    reaped = []
    for folder in sorted(engines_folder().glob("*-*-*")):
        owner, start, _ = folder.name.split("-")
        if start and _start(int(owner)) != start:
            guard.kill_tree(folder.name)
            shutil.rmtree(folder, ignore_errors=True)
            reaped.append(folder.name)
    return reaped


def _start(pid: int) -> str:
    """Ticks after boot at which a process began; nothing where it is gone, or the system does not tell."""
    fields = guard.stat_of(pid)
    return fields[19] if fields else ""
