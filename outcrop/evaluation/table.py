"""The table of results, made once and shown as HTML, in the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from outcrop.evaluation import notation
from outcrop.evaluation.results import EvaluationResult, SystemResult, Verdict

_COLOURS: dict[Verdict, str] = {"better": "green", "worse": "red", "no difference shown": "yellow"}
_VERDICT = "Verdict"
_LIMITED = "†"
"""Marks a score that says less than it seems to; the sentence with the same mark says why."""


class Cell(NamedTuple):
    """What a cell says, and in smaller letters what qualifies it."""

    text: str
    detail: str = ""


@dataclass(frozen=True)
class Row:
    """One system. verdict: of its comparison with the baseline, if there is one; emphasis: it is the candidate."""

    name: str
    description: str
    cells: tuple[Cell, ...]
    verdict: Verdict | None
    emphasis: bool


@dataclass(frozen=True)
class ResultTable:
    """columns: titles of the cells after the system's name; judged: the place of the verdict among them, or None;
    limits: what stands below the table, on why the scores say less than they seem to."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    judged: int | None
    limits: tuple[str, ...]


def result_table(result: EvaluationResult) -> ResultTable:
    """Score with interval, paired comparison, tokens, latency, minutes; a column that nobody measured is left out."""
    metric = result.metrics[0]
    scored = notation.heading(metric) + (f" {_LIMITED}" if result.limits else "")
    columns: dict[str, Callable[[SystemResult], Cell]] = {scored: lambda s: _score(result, s)}
    if result.baseline is not None:
        against = "Against baseline" + (", points" if notation.has_points(metric) else "")
        columns[against] = lambda s: _against(result, s)
        columns[_VERDICT] = lambda s: _judged(result, s)
    if any(system.invalid_answers for system in result.systems):
        columns["Invalid answers"] = lambda s: Cell(notation.count_or_dash(s.invalid_answers))
    if any(system.stopped_share is not None and system.stopped_share < 1 for system in result.systems):
        columns["Ended by itself"] = lambda s: Cell(notation.share(s.stopped_share))
    columns["Output tokens"] = lambda s: Cell(notation.tokens(s.output_tokens_mean))
    columns["Latency p50 (p95)"] = _latency
    columns["Training minutes"] = lambda s: Cell(notation.minutes(s.train_minutes))
    filled = {title: [write(system) for system in result.systems] for title, write in columns.items()}
    used = {title: cells for title, cells in filled.items() if any(cell.text != notation.ABSENT for cell in cells)}
    rows = [_row(result, s, tuple(cells[place] for cells in used.values())) for place, s in enumerate(result.systems)]
    judged = list(used).index(_VERDICT) if _VERDICT in used else None
    return ResultTable(tuple(used), tuple(rows), judged, tuple(f"{_LIMITED} {limit}" for limit in result.limits))


def _score(result: EvaluationResult, system: SystemResult) -> Cell:
    metric = result.metrics[0]
    found = system.metrics[metric.name]
    return Cell(notation.number(metric, found.value), notation.interval(metric, found))


def _against(result: EvaluationResult, system: SystemResult) -> Cell:
    metric = result.metrics[0]
    comparison = result.comparison(metric.name, system.name)
    if comparison is None:
        return Cell("baseline" if system.name == result.baseline else notation.ABSENT)
    found = comparison.difference
    return Cell(notation.change(metric, found.value), notation.interval(metric, found, signed=True))


def _judged(result: EvaluationResult, system: SystemResult) -> Cell:
    comparison = result.comparison(result.metrics[0].name, system.name)
    return Cell(comparison.verdict, notation.p_value(comparison.p)) if comparison else Cell(notation.ABSENT)


def _latency(system: SystemResult) -> Cell:
    detail = "" if system.latency_p95_ms is None else notation.milliseconds(system.latency_p95_ms)
    return Cell(notation.milliseconds(system.latency_p50_ms), detail)


def _row(result: EvaluationResult, system: SystemResult, cells: tuple[Cell, ...]) -> Row:
    comparison = result.comparison(result.metrics[0].name, system.name)
    verdict = comparison.verdict if comparison else None
    return Row(system.name, system.description, cells, verdict, system.name == result.candidate)


def terminal_table(result: EvaluationResult) -> Table:
    """The table for rich to print, intervals and p in a second line, limits below."""
    found = result_table(result)
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False, collapse_padding=True)
    if found.limits:
        table.caption = Text("\n".join(found.limits), "yellow")
        table.caption_justify = "left"
    table.add_column("System", overflow="fold")
    for title in found.columns:
        table.add_column(title.replace(" ", "\n"), justify="right", no_wrap=title != _VERDICT)
    for row in found.rows:
        cells = [_two_lines(cell) for cell in row.cells]
        if row.verdict and found.judged is not None:
            cells[found.judged].stylize(_COLOURS[row.verdict], 0, len(row.verdict))
        name = Text(row.name, style="bold" if row.emphasis else "")
        table.add_row(name, *cells)
    return table


def _two_lines(cell: Cell) -> Text:
    return Text(cell.text).append(f"\n{cell.detail}" if cell.detail else "", style="dim")


def markdown_table(result: EvaluationResult) -> str:
    """The table in GitHub's Markdown; numbers are aligned to the right."""
    found = result_table(result)
    lines = [["System", *found.columns], ["---", *["---:"] * len(found.columns)]]
    for row in found.rows:
        name = _markdown(row.name)
        cells = [f"{cell.text} ({cell.detail})" if cell.detail else cell.text for cell in row.cells]
        lines.append([f"**{name}**" if row.emphasis else name, *cells])
    rows = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return rows + "".join(f"\n{_markdown(limit)}\n" for limit in found.limits)


def _markdown(text: str) -> str:
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\|*_`<[" else letter for letter in flat)
