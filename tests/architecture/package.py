"""What the architecture tests look at: the repository, its package's files, folders and modules."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "outcrop"
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """"outcrop.data.split" for its file, "outcrop.data" for the folder's __init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = [module_name(path) for path in FILES]


def load(name: str) -> ModuleType:
    """Import a module of the package."""
    return import_module(name)


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_bytes(), str(path))


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, warnings as errors, from the repository."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=100, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
