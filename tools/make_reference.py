"""Writes what is derived from the code: the README's map and the tables of docs/.

    python tools/make_reference.py            write what changed
    python tools/make_reference.py --check    write nothing; exit 1 if something would change
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from outcrop.cli.steps import allowed
from outcrop.core.errors import OutcropError
from outcrop.core.spec import bounds_of, extra_of, kind_of
from outcrop.data.defects import DEFECTS
from outcrop.data.steps.catalog import STEPS
from outcrop.evaluation.metrics.catalog import METRICS
from outcrop.training.spec import TrainingSpec

Row = tuple[str, ...]

ROOT = Path(__file__).parents[1]
MAP_START = "<!-- map: written by tools/make_reference.py -->"
MAP_END = "<!-- end of map -->"
NOTICE = "<!-- Written by tools/make_reference.py: change the source it names, then run `make reference`. -->"


def readme(root: Path) -> str:
    """README.md with a fresh map between its markers."""
    text = (root / "README.md").read_text()
    before, start, rest = text.partition(MAP_START)
    _, end, after = rest.partition(MAP_END)
    if not (start and end):
        raise SystemExit(f"README.md: the map goes between the lines {MAP_START!r} and {MAP_END!r}; one is missing.")
    return f"{before}{start}\n```text\n{package_map(root)}\n```\n{end}{after}"


def package_map(root: Path) -> str:
    """Every folder and module of the package, one line each, with the first sentence of its docstring."""
    entries = list(_entries(root / "outcrop", 0))
    width = max(len(name) for name, _ in entries) + 2
    return "\n".join(f"{name:<{width}}{summary}" for name, summary in entries)


def _entries(folder: Path, depth: int) -> Iterator[tuple[str, str]]:
    indent = "  " * depth
    yield f"{indent}{folder.name}/", _summary(folder / "__init__.py")
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            yield f"{indent}  {path.name}", _summary(path)
    for path in sorted(folder.iterdir()):
        if (path / "__init__.py").exists():
            yield from _entries(path, depth + 1)
        elif path.is_dir() and not path.name.startswith(("_", ".")) and any(path.iterdir()):
            yield f"{indent}  {path.name}/", _title(path / "README.md")


def _summary(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_bytes(), str(module)))
    if not docstring:
        raise SystemExit(f"{module}: no docstring. Its first sentence is its line in the README's map.")
    return re.split(r"\. (?=[A-Z`])", docstring.splitlines()[0])[0].rstrip(".:")


def _title(page: Path) -> str:
    if not page.exists():
        raise SystemExit(f"{page} is missing. Its title is the line of this data folder in the README's map.")
    return page.read_text().partition("\n")[0].removeprefix("# ")


def hyperparameters(root: Path) -> str:
    """The page of all fields of TrainingSpec, in their order."""
    intro = """
Source: `outcrop/training/spec.py`. Each name is a flag of `outcrop tune` and `outcrop pretrain` (`--batch-size 16`),
a name for `--set batch_size=16`, and a key of the TOML file for `--settings`. A flag wins over `--set`, and `--set`
over the file. An unknown name is refused. Bedrock's names are understood by `--set` and in the file.

Where there is no default, the value is found from the base model and the data if the meaning says so, and shown with
its source before the first step.
"""
    rows = [_parameter_row(name, field) for name, field in TrainingSpec.model_fields.items()]
    return _page("Hyperparameters", intro, ("name", "default", "allowed", "Bedrock name", "meaning"), rows)


def _parameter_row(name: str, field: FieldInfo) -> Row:
    default = "" if field.default is None else f"`{_literal(field.default)}`"
    bedrock = extra_of(field, "bedrock")
    source = extra_of(field, "source")
    meaning = f"{field.description}. Source: {source}." if source else f"{field.description}."
    return (f"`{name}`", default, _allowed(field), f"`{bedrock}`" if bedrock else "", meaning)


def _allowed(field: FieldInfo) -> str:
    kind = kind_of(field)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if kind is bool:
        return "`true`, `false`"
    words = {int: "whole number", float: "number"}.get(kind, "text")
    unit = extra_of(field, "unit")
    return ", ".join([f"{words} ({unit})" if unit else words, *bounds_of(field)])


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def defects(root: Path) -> str:
    """The page of all defects that a check of data can name."""
    intro = """
Source: `outcrop/data/defects.py`. `outcrop data check` names each by file, line and field, all at once.
An error makes its row unusable; a warning leaves the row in and says what may go wrong with it.
"""
    rows = [(f"`{code}`", defect.severity, defect.meaning, defect.remedy) for code, defect in DEFECTS.items()]
    return _page("Defects of data", intro, ("code", "severity", "meaning", "remedy"), rows)


def steps(root: Path) -> str:
    """The page of all steps of a preparation with their parameters."""
    intro = """
Source: the files in `outcrop/data/steps/`. `--set STEP.NAME=VALUE` of `outcrop data prepare`, or `NAME = VALUE` below
`[STEP]` in a recipe. `outcrop data steps` shows the same, and for what reasons each step drops rows.
"""
    rows = [
        (f"`{name}.{field}`", f"`{_literal(info.default)}`" if info.default not in (None, (), {}, "") else "",
         allowed(info), f"{info.description}.")
        for name in STEPS
        for field, info in STEPS.load(name).spec_type.model_fields.items()
    ]  # fmt: skip
    return _page("Steps of a preparation", intro, ("parameter", "default", "allowed", "meaning"), rows)


def metrics(root: Path) -> str:
    """The page of all metrics, with direction, range and source."""
    intro = """
Source: the files in `outcrop/evaluation/metrics/`. Each name is a `--metric` of `outcrop evaluate`.
Without one, the metrics that fit the kind of answers are taken.
"""
    rows = [
        (f"`{name}`", each.title, each.direction, f"{_literal(each.low)} to {_literal(each.high)}", each.source)
        for name in METRICS
        for each in [METRICS.load(name)]
    ]
    return _page("Metrics", intro, ("name", "title", "better", "range", "source"), rows)


def errors(root: Path) -> str:
    """The page of all error classes, as the tree they form."""
    intro = """
Source: `outcrop/core/errors.py`. An error says what was given, what is allowed, where, and what to do. A class stands
under the one it derives from. With `--output json` an error is `{"error": {…}}` with `code` and `message`, and with
`remedy`, `where` and `report` where they are known.

Exit codes: 0 done, 1 the work failed, 2 the request or its input is wrong.
"""
    return _page("Errors", intro, ("class", "code", "exit code", "meaning"), list(_error_rows(OutcropError, 0)))


def _error_rows(kind: type[OutcropError], depth: int) -> Iterator[Row]:
    meaning = " ".join((kind.__doc__ or "").split())
    yield ("&emsp;" * depth + f"`{kind.__name__}`", f"`{kind.code}`", str(kind.exit_code), meaning)
    for child in kind.__subclasses__():
        yield from _error_rows(child, depth + 1)


def _page(title: str, intro: str, head: Row, rows: Sequence[Row]) -> str:
    table = [head, ("---",) * len(head), *rows]
    lines = ("| " + " | ".join(_cell(text) for text in row) + " |" for row in table)
    return f"# {title}\n\n{NOTICE}\n{intro}\n" + "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text as it is, in a cell of a Markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|")


PAGES: dict[str, Callable[[Path], str]] = {
    "README.md": readme,
    "docs/reference/hyperparameters.md": hyperparameters,
    "docs/reference/defects.md": defects,
    "docs/reference/metrics.md": metrics,
    "docs/reference/steps.md": steps,
    "docs/errors.md": errors,
}
"""Each derived page and what makes it."""


def stale(root: Path) -> dict[str, str]:
    """The pages whose text differs from what the code says now: name → right text."""
    fresh = {name: make(root) for name, make in PAGES.items()}
    kept = {name: (root / name).read_text() for name in PAGES if (root / name).exists()}
    return {name: text for name, text in fresh.items() if text != kept.get(name)}


def main(arguments: list[str] | None = None) -> int:
    """Write the stale pages, or with --check only name them and return 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if something would change")
    check = parser.parse_args(arguments).check
    pages = stale(ROOT)
    for name, text in pages.items():
        print(f"{'stale' if check else 'written'}: {name}")
        if not check:
            (ROOT / name).write_text(text)
    return 1 if check and pages else 0


if __name__ == "__main__":
    sys.exit(main())
