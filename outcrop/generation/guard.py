"""The process between Outcrop and an engine of another environment: the engine's whole tree ends with its owner.

    python -I guard.py OWNER GRACE_S COMMAND...

It stands alone, so that any Python runs it in a moment: it imports the standard library only. It leads a session of its
own. Told to stop (SIGTERM), or once OWNER is no more its parent, it asks the command to end, and after GRACE_S seconds
kills whatever is left of the session or bears its mark. Its exit code is the command's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "OUTCROP_ENGINE"
"""Environment variable that every process of an engine inherits: "PID-START-NUMBER" of its owner."""
LOOK_S = 0.1
PR_SET_PDEATHSIG = 1


def stat_of(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on; empty for a process that is gone or a zombie, and without /proc."""
    try:
        # The name of the program, in brackets, may hold blanks and brackets itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] == "Z" else fields


def tree(mark: str, session: int | None = None) -> list[int]:
    """Live processes, but this one, that bear the mark or are of the session; none where there is no /proc."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid, fields = int(entry.name), stat_of(int(entry.name))
        if not fields or pid == os.getpid():
            continue
        try:
            marked = wanted in (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # another user's, or gone meanwhile
            marked = False
        if marked or int(fields[3]) == session:
            found.append(pid)
    return found


def kill_tree(mark: str, session: int | None = None) -> None:
    """End all of it at once; again until nothing is left, because a dying process may just have made another."""
    for _ in range(100):
        pids = tree(mark, session)
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


class _Guard:
    def __init__(self, owner: int, grace_s: float, command: list[str]) -> None:
        self._owner, self._grace_s = owner, grace_s
        self._stop = False
        signal.signal(signal.SIGTERM, self._on_stop)  # a handler, not SIG_IGN: that would be inherited
        signal.signal(signal.SIGINT, self._on_stop)
        self._child = subprocess.Popen(command, preexec_fn=_die_with_the_guard)  # noqa: PLW1509  one thread

    def run(self) -> int:
        while self._child.poll() is None and not self._stop and os.getppid() == self._owner:
            time.sleep(LOOK_S)
        if self._child.poll() is None:
            self._child.terminate()
        self._wait_for_all()
        kill_tree(os.environ[MARK], os.getsid(0))
        self._child.kill()
        return self._child.wait()

    def _wait_for_all(self) -> None:
        end = time.monotonic() + self._grace_s
        while time.monotonic() < end:
            if self._child.poll() is not None and not tree(os.environ[MARK], os.getsid(0)):
                return
            time.sleep(LOOK_S)

    def _on_stop(self, *_: object) -> None:
        self._stop = True


def _die_with_the_guard() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    code = _Guard(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]).run()
    sys.exit(code if code >= 0 else 128 - code)
