"""Results of workflows as text: figures, tables and the paths of what was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from outcrop.cli.console import visible
from outcrop.cli.event_text import number
from outcrop.evaluation.distillation import Candidate, DistillationFacts
from outcrop.evaluation.results import EvaluationResult
from outcrop.evaluation.table import terminal_table

ROWS = 30
"""Rows of a table that are shown; JSON has them all."""
ITEMS = 8
"""Items of a list that are shown in a line."""


class Result(Protocol):
    """What every workflow returns."""

    def as_dict(self) -> dict[str, Any]:
        """The result, JSON-ready."""
        ...


def render(result: Result) -> RenderableType:
    """A result as text: figures first, then what is nested in it, each part under its name."""
    if isinstance(result, EvaluationResult):
        return evaluation(result)
    evaluations = {name: part for name, part in vars(result).items() if isinstance(part, EvaluationResult)}
    rest = {name: value for name, value in result.as_dict().items() if name not in evaluations}
    for name, part in vars(result).items():
        if isinstance(part, DistillationFacts):
            rest[name] = {**rest[name], "candidates": [_tried(candidate) for candidate in part.candidates]}
    return Group(*(evaluation(each) for each in evaluations.values()), figures_and_tables(rest))


def evaluation(result: EvaluationResult) -> Group:
    """The table of an evaluation, what its comparisons say, and its notes."""
    what = "this sealed set" if result.data.sealed else "these rows"
    looks = "" if result.data.looks is None else f", look number {result.data.looks:,} at {what}"
    said = [comparison.sentence for comparison in result.comparisons] + list(result.notes)
    return Group(
        Text(visible(result.title), "bold"),
        Text(f"{result.data.rows:,} rows of {visible(result.data.path)}{looks}\n", "dim"),
        terminal_table(result),
        Text(),
        *(Text(visible(sentence)) for sentence in said),
        Text(),
    )


def _tried(candidate: Candidate) -> dict[str, Any]:
    """What of a candidate fits beside the others on a terminal; JSON and report have all of it."""
    return {
        "name": f"{candidate.name}, timed in int8" if candidate.int8 else candidate.name,
        "faster": f"{candidate.faster:.1f}×", "throughput": f"{candidate.throughput:.1f}×",
        "quality": candidate.quality and candidate.quality.value, "what became of it": candidate.fate,
    }  # fmt: skip


def figures_and_tables(fields: Mapping[str, Any]) -> Group:
    """JSON-ready fields as text: simple ones as lines, objects as indented parts, lists of objects as tables."""
    simple = {name: value for name, value in fields.items() if not _is_nested(value)}
    nested = {name: value for name, value in fields.items() if _is_nested(value)}
    parts: list[RenderableType] = [_figures(simple)] if simple else []
    for name, value in nested.items():
        parts.append(Text(f"\n{_words(name)}", "bold"))
        parts.append(Padding(figures_and_tables(value) if isinstance(value, Mapping) else _table(value), (0, 0, 0, 2)))
    return Group(*parts)


def _is_nested(value: Any) -> bool:
    return (isinstance(value, Mapping) and bool(value) and not _is_estimate(value)) or _is_table(value)


def _is_estimate(value: Any) -> bool:
    """A number with its interval, as evaluation.results.Estimate has it."""
    return isinstance(value, Mapping) and {"value", "low", "high", "n", "method"} <= value.keys()


def _is_table(value: Any) -> bool:
    return _is_list(value) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _figures(fields: Mapping[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields.items():
        grid.add_row(Text(_words(name), "cyan"), _cell(value))
    return grid


def _table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One column for each field of the first row."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
    for name, value in rows[0].items():
        is_number = isinstance(value, int | float) or _is_estimate(value)
        table.add_column(_words(name), overflow="fold", justify="right" if is_number else "left")
    for row in rows[:ROWS]:
        table.add_row(*(_cell(row.get(name)) for name in rows[0]))
    if len(rows) <= ROWS:
        return table
    return Group(table, Text(f"… and {len(rows) - ROWS:,} more rows (--output json has all)", "dim"))


def _cell(value: Any) -> Text:
    """A value in a line or in a table; of what has many parts, the first ones and how many there are."""
    if isinstance(value, Path):
        return Text(visible(str(value)), "bold")
    if _is_estimate(value):
        interval = value["method"] if value["low"] is None else f"{number(value['low'])} to {number(value['high'])}"
        return Text(f"{number(value['value'])} ({interval})")
    if not isinstance(value, Mapping) and not _is_list(value):
        return Text(number(value))
    if not value:
        return Text("none", "dim")
    named = isinstance(value, Mapping)
    items = [f"{name} {_cell(part)}" for name, part in value.items()] if named else [str(_cell(part)) for part in value]
    more = f" … ({len(items):,} in all)" if len(items) > ITEMS else ""
    return Text(", ".join(items[:ITEMS]) + more)


def _words(name: str) -> str:
    return visible(name.replace("_", " "))
