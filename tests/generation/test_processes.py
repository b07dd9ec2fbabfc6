"""Engines as processes: whatever becomes of their owner, nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outcrop.generation import guard
from outcrop.generation.processes import EngineProcess, engines_folder, reap

WAIT_S = 60.0
# An engine that is deaf to SIGTERM, and so is its child, which left its session.
DEAF = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) < 2:
    subprocess.Popen([sys.executable, "-c", open("deaf.py").read(), "child"], start_new_session=True)
else:
    open("ready", "w").close()
time.sleep(600)
"""
OWNER = """
import sys, time
from pathlib import Path
from outcrop.generation.processes import EngineProcess
engine = EngineProcess(grace_s=0.3)
(engine.folder / "deaf.py").write_text(Path(sys.argv[1]).read_text())
engine.start([sys.executable, "deaf.py"], {})
print(engine.mark, flush=True)
time.sleep(600)
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system has no /proc")


def _until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def owner(tmp_path: Path, outcrop_home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that owns an engine, and the engine's mark."""
    script = tmp_path / "deaf.py"
    script.write_text(DEAF)
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(script)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    mark = process.stdout.readline().strip()
    _until((outcrop_home / "engines" / mark / "ready").exists)
    yield process, mark
    process.kill()
    process.wait()
    process.stdout.close()
    guard.kill_tree(mark)


def test_nothing_is_left_when_the_owner_is_killed(owner: tuple[subprocess.Popen[str], str]) -> None:
    process, mark = owner
    assert len(guard.tree(mark)) == 3
    process.kill()
    process.wait()
    _until(lambda: not guard.tree(mark))
    assert reap() == [mark]
    assert not list(engines_folder().iterdir())


def test_the_next_start_reaps_what_the_guard_could_not(owner: tuple[subprocess.Popen[str], str]) -> None:
    process, mark = owner
    assert reap() == []
    [leader] = [pid for pid in guard.tree(mark) if os.getsid(pid) == pid and "guard.py" in _command(pid)]
    process.send_signal(signal.SIGSTOP)
    os.kill(leader, signal.SIGKILL)
    assert guard.tree(mark), "a child in a session of its own outlives the guard"
    process.kill()
    process.wait()
    assert reap() == [mark]
    assert not guard.tree(mark)


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_stopping_ends_it_and_removes_its_folder() -> None:
    engine = EngineProcess(grace_s=0.3)
    (engine.folder / "deaf.py").write_text(DEAF)
    engine.start([sys.executable, "deaf.py"], {})
    _until((engine.folder / "ready").exists)
    assert engine.running
    engine.stop()
    assert not engine.running
    assert engine.exit_code == 128 + signal.SIGKILL
    assert not guard.tree(engine.mark)
    assert not engine.folder.exists()
    engine.stop()


def test_what_it_said_last_and_how_it_ended_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    engine = EngineProcess()
    code = "import os, sys; print('first'); print(os.environ.get('PYTHONPATH'), os.environ['GIVEN']); sys.exit(3)"
    engine.start([sys.executable, "-c", code], {"GIVEN": "yes"})
    _until(lambda: not engine.running)
    assert engine.exit_code == 3
    assert engine.last_words() == "first\nNone yes"
    engine.stop()
