"""Sizes of the code: lines per folder, and every file or function body that outgrew its limit.

Over a soft limit is listed; over a hard limit fails. A body is a function's lines without its docstring.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDERS = ("outcrop", "tools", "tests", "examples", "benchmarks", "recipes")
FILE_LINES = (400, 600)
BODY_LINES = (40, 80)


class Excess(NamedTuple):
    """Something over its soft limit; `hard` if over the hard one too."""

    lines: int
    where: str
    hard: bool


def python_files(root: Path) -> list[Path]:
    """Every Python file under FOLDERS of `root`, sorted."""
    return sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))


def lines_per_folder(root: Path) -> dict[str, int]:
    """Lines of Python per folder, two levels deep: "outcrop/data" → 1203."""
    totals: Counter[str] = Counter()
    for path in python_files(root):
        folder = path.relative_to(root).parent.parts[:2]
        totals["/".join(folder)] += _lines(path)
    return dict(totals)


def long_files(root: Path) -> list[Excess]:
    """Files over the soft limit, longest first."""
    return _over(((_lines(path), str(path.relative_to(root))) for path in python_files(root)), FILE_LINES)


def long_bodies(root: Path) -> list[Excess]:
    """Function bodies over the soft limit, longest first."""
    return _over((body for path in python_files(root) for body in _bodies(path, root)), BODY_LINES)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def _bodies(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (node.end_lineno or node.lineno) - body[0].lineno + 1 if body else 0
            yield lines, f"{path.relative_to(root)}:{node.lineno} {node.name}"


def _over(sizes: Iterator[tuple[int, str]], limits: tuple[int, int]) -> list[Excess]:
    soft, hard = limits
    return sorted((Excess(lines, where, lines > hard) for lines, where in sizes if lines > soft), reverse=True)


def main(arguments: list[str] | None = None) -> int:
    """Print the sizes. Returns 1 if something is over a hard limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1], help="the repository")
    root = parser.parse_args(arguments).root
    folders = lines_per_folder(root)
    for folder, lines in sorted(folders.items()):
        print(f"{lines:7,d}  {folder}")
    print(f"{sum(folders.values()):7,d}  lines of Python")
    failed = False
    for title, limits, excess in (
        ("Files", FILE_LINES, long_files(root)),
        ("Function bodies", BODY_LINES, long_bodies(root)),
    ):
        if excess:
            print(f"\n{title} over {limits[0]} lines ({limits[1]} is the hard limit):")
        for entry in excess:
            print(f"{entry.lines:7,d}  {entry.where}{'  TOO LONG' if entry.hard else ''}")
            failed |= entry.hard
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
