"""The contracts of pyproject.toml let good imports pass and refuse each kind of bad one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.package import ROOT

ROOMS = ("cli", "workflows", "training", "generation", "evaluation", "models", "bodies", "data", "core")
GOOD = {
    "cli/tune": "import outcrop.workflows.fine_tune",
    "workflows/fine_tune": "import outcrop.training.loop, outcrop.evaluation.report, outcrop.store.database",
    "training/loop": "import torch, outcrop.models.loading, outcrop.training.spec",
    "training/spec": "import outcrop.core.spec",
    "models/loading": "import torch, outcrop.data.records",
    "evaluation/report": "import outcrop.core.spec",
    "store/__init__": "",
    "store/database": "import sqlalchemy",
    "data/records": "",
    "core/spec": "",
}
BAD = {
    "upwards": {"core/spec": "import outcrop.data.records"},
    "upwards two floors": {"models/loading": "import outcrop.training.loop"},
    "sideways": {"training/loop": "import outcrop.evaluation.report"},
    "torch in data": {"data/records": "import torch"},
    "torch in evaluation through models": {"evaluation/report": "import outcrop.models.loading"},
    "torch in a spec": {"training/spec": "import transformers"},
    "SQL outside store": {"workflows/fine_tune": "import sqlalchemy.orm"},
    "inside a function": {"data/records": "def f():\n    import outcrop.cli.tune"},
    "room without a floor": {"billing/__init__": ""},
}


def _lint(folder: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    package = {"__init__": ""} | {f"{room}/__init__": "" for room in ROOMS} | files
    for name, content in package.items():
        path = folder / "outcrop" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    # Not by the script beside the interpreter: this one imports what is in its working folder.
    code = "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_imports_downwards_pass(tmp_path: Path) -> None:
    run = _lint(tmp_path, GOOD)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("files", BAD.values(), ids=BAD)
def test_bad_import_is_refused(files: dict[str, str], tmp_path: Path) -> None:
    run = _lint(tmp_path, GOOD | files)
    assert run.returncode == 1, run.stdout
    assert "BROKEN" in run.stdout
