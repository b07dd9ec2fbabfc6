"""Every example is short, and does what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXTS = "texts.jsonl"
ARGUMENTS = {"tune.py": ["1"], "evaluate.py": ["1", "600"], "pretrain.py": [TEXTS], "synonyms.py": ["25"]}
SAYS = {
    "tune.py": "exact answers on held-out rows", "evaluate.py": "n = ", "pretrain.py": "bits per byte",
    "synonyms.py": "25 served from the table",
}


def test_all_examples_are_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(ARGUMENTS)


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_example_is_under_60_lines(name):
    assert len((EXAMPLES / name).read_text().splitlines()) < 60


@pytest.mark.e2e
@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_example_runs(name, tmp_path):
    rows = [{"input": f"Tent {n} arrived {n * n} days late, and its {n + 7} poles were bent."} for n in range(300)]
    (tmp_path / TEXTS).write_text("\n".join(map(json.dumps, rows)) + "\n")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), str(tmp_path / "made"), *ARGUMENTS[name]],
        check=False, capture_output=True, text=True, env={**os.environ, "OUTCROP_HOME": str(tmp_path)}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout
