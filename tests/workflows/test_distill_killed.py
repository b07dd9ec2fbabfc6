"""A distillation that is killed with kill -9, twice, and goes on: no teacher call twice, and the same student."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import outcrop
from outcrop.store.teacher_cache import TeacherCache

SETTINGS = {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3, "precision": "float32", "checkpoint_minutes": 0}
CHILD = """
import json, sys, outcrop
def tell(event): print(json.dumps(event), flush=True)
arguments = json.loads(sys.argv[1])
result = outcrop.distill(**arguments, listener=tell)
print(json.dumps({"event": "result", "calls": result.facts.teacher_calls}), flush=True)
"""


def run_until(arguments: dict[str, Any], enough: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Distill in a process that is killed at the first event that is enough; the events until then."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if enough(events[-1]):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.read()
    errors = process.stderr.read()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    assert events, errors
    return events


@pytest.mark.slow
def test_killed_twice_it_asks_nothing_twice_and_makes_the_same_student(
    base: str, rows: str, tmp_path: Path, outcrop_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {
        "teacher": base, "data": [rows], "to": str(tmp_path / "out"), "students": [base], "faster": 0.01,
        "columns": "prompt=text,completion=label", "relabel": True, "settings": SETTINGS, "int8": "never",
    }  # fmt: skip
    run_until(arguments, lambda event: event["event"] == "progress" and event["title"] == "Teacher explains")
    cache = TeacherCache(outcrop_home / "teachers.db")
    before = sum(holding.entries for holding in cache.holdings())
    assert before > 0
    again = arguments | {"resume": True}
    seen = run_until(again, lambda event: event["event"] == "checkpoint" and event["step"] == 7)
    assert any(event["event"] == "checkpoint" for event in seen)
    middle = sum(holding.entries for holding in cache.holdings())
    finished = run_until(again, lambda event: False)
    assert any(event["event"] == "resumed" for event in finished)
    assert finished[-1] == {"event": "result", "calls": 0}
    assert sum(holding.entries for holding in cache.holdings()) == middle

    monkeypatch.setenv("OUTCROP_HOME", str(tmp_path / "another home"))
    whole = outcrop.distill(**arguments | {"to": str(tmp_path / "whole")})
    assert whole.facts.teacher_calls == middle
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "whole"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
