"""The command as a user runs it: a tuned model from a file, killed and resumed, and mistakes without tracebacks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.e2e

TUNE = ["--map", "prompt=text,completion=label", "--template", "Message: {prompt}\\nIntent:", "--precision", "float32"]


def outcrop(*words, **options):
    return subprocess.run(command(*words), check=False, capture_output=True, text=True, timeout=100, **options)


def command(*words):
    return [sys.executable, "-c", "from outcrop.cli.app import main; main()", *map(str, words)]


def test_tune_prints_json_and_progress_apart(base, rows, tmp_path):
    done = outcrop(
        "tune", "--base", base, "--data", rows, *TUNE, "--to", tmp_path / "out", "--epochs", "1", "--output", "json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] > 0
    assert "Training" in done.stderr


def test_user_mistake_exits_2_with_place_and_remedy(base, rows, tmp_path):
    Path(rows).write_text(Path(rows).read_text() + '{"text": "", "label": "card"}\n')
    done = outcrop("tune", "--base", base, "--data", rows, *TUNE, "--to", tmp_path / "out")
    assert done.returncode == 2
    assert f"{rows}:91" in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_killed_and_resumed_equals_undisturbed(base, rows, tmp_path):
    words = [
        "tune",
        "--base",
        base,
        "--data",
        rows,
        *TUNE,
        "--epochs",
        "30",
        "--checkpoint-minutes",
        "0",
        "--batch-size",
        "4",
    ]
    whole = outcrop(*words, "--to", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    broken = subprocess.Popen(
        command(*words, "--to", tmp_path / "broken"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    checkpoints = tmp_path / "broken.partial" / "run" / "checkpoints"
    deadline = time.monotonic() + 60
    while len(list(checkpoints.glob("step-*"))) < 2 and time.monotonic() < deadline and broken.poll() is None:
        time.sleep(0.01)
    os.kill(broken.pid, signal.SIGKILL)
    broken.wait()
    assert not (tmp_path / "broken").exists(), "the run was over before it could be killed"
    done = outcrop(*words, "--to", tmp_path / "broken", "--resume")
    assert done.returncode == 0, done.stderr
    left, right = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(left[key], right[key]) for key in left)
    journals = [(tmp_path / name / "run" / "journal.jsonl").read_bytes() for name in ("whole", "broken")]
    assert journals[0] == journals[1]


def test_sigterm_keeps_the_checkpoint_and_says_so(base, rows, tmp_path):
    words = ["tune", "--base", base, "--data", rows, *TUNE, "--checkpoint-minutes", "0", "--batch-size", "4"]
    broken = subprocess.Popen(
        command(*words, "--to", tmp_path / "out", "--epochs", "100", "--early-stopping-patience", "100"),
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    checkpoints = tmp_path / "out.partial" / "run" / "checkpoints"
    deadline = time.monotonic() + 60
    while not list(checkpoints.glob("step-*")) and time.monotonic() < deadline and broken.poll() is None:
        time.sleep(0.01)
    broken.send_signal(signal.SIGTERM)
    _, said = broken.communicate(timeout=60)
    assert broken.returncode == 143, said
    last = said.splitlines()[-1]
    assert last.startswith("Terminated. The checkpoint of step ")
    assert str(tmp_path / "out.partial") in last
    assert list(checkpoints.glob("step-*"))
