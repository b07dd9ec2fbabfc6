"""`outcrop data prepare`: run a chain of steps over records, with an account of every row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from outcrop.cli.console import message_console, print_json, result_console, visible
from outcrop.cli.options import (
    AttributionOption,
    FilesArgument,
    FormatOption,
    LicenceOption,
    MapOption,
    OutputOption,
    OverwriteOption,
    RolesOption,
    SourceOption,
    TemplateOption,
    VerboseOption,
)
from outcrop.cli.progress import progress
from outcrop.core.errors import UsageError
from outcrop.data.card import Provenance, name_of
from outcrop.data.mapping import Mapping as ColumnMapping
from outcrop.data.pipeline.chain import parse_assignments
from outcrop.data.pipeline.output import CHANGES_FILE
from outcrop.data.pipeline.pool import RUNNERS
from outcrop.data.steps.catalog import STEPS
from outcrop.workflows.prepare import PrepareResult, prepare

CHAIN = "Steps"

ToOption = Annotated[
    Path, typer.Option("--to", metavar="DIR", help="The folder to make. Nothing appears in it unless all went well.")
]
StepsOption = Annotated[
    str,
    typer.Option(
        "--steps",
        metavar="NAME,…",
        rich_help_panel=CHAIN,
        help=f"The steps, in this order. All: {', '.join(STEPS)}.",
    ),
]
RecipeOption = Annotated[
    Path | None,
    typer.Option("--recipe", metavar="FILE.toml", rich_help_panel=CHAIN, help="Steps and parameters from a file."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="STEP.NAME=VALUE",
        rich_help_panel=CHAIN,
        help="A parameter of a step; wins over --recipe. Repeatable. All: outcrop data steps.",
    ),
]
AgainstOption = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        metavar="FILE|DIR",
        rich_help_panel=CHAIN,
        help="A sealed test or benchmark of which no row may be held (step decontaminate). Repeatable.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", metavar="N", min=1, help="Processes. Default: as many as processors.")
]
RunnerOption = Annotated[
    str,
    typer.Option(
        "--runner",
        metavar="|".join(RUNNERS),
        help="Who works: processes of this machine, or Ray Data (a running Ray, RAY_ADDRESS, or one of its own).",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with an unfinished preparation; what is done is not done again.")
]
ReportOption = Annotated[
    bool, typer.Option("--report/--no-report", help="Write report.html, card.md and card.json beside the rows.")
]
DiffOption = Annotated[bool, typer.Option("--diff", help="Show every changed text, before and after.")]


def prepare_files(
    files: FilesArgument,
    *,
    to: ToOption,
    steps: StepsOption = "",
    recipe: RecipeOption = None,
    assignments: SetOption = None,
    against: AgainstOption = None,
    diff: DiffOption = False,
    workers: WorkersOption = None,
    runner: RunnerOption = "local",
    resume: ResumeOption = False,
    with_report: ReportOption = True,
    source: SourceOption = None,
    licence: LicenceOption = None,
    attribution: AttributionOption = "",
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    overwrite: OverwriteOption = False,
    verbose: VerboseOption = False,
    output: OutputOption = "text",
) -> None:
    """Clean, filter, de-duplicate, decontaminate, anonymise, split and mix records, with an account of every row.

    Writes the parts, dropped.jsonl, changes.jsonl, preparation.json, the resolved recipe prepare.toml, a report and a
    card; or nothing.
    """
    if diff and output == "json":
        raise UsageError("--diff is for people.", f"Read {CHANGES_FILE} in the folder.")
    settings = parse_assignments(assignments or ())
    sources = {step: dict.fromkeys(values, "--set") for step, values in settings.items()}
    if against:
        settings.setdefault("decontaminate", {})["against"] = against
        sources.setdefault("decontaminate", {})["against"] = "--against"
    provenance = Provenance(name_of(files[0]), "", tuple(source or ()), tuple(licence or ()), attribution)
    with progress(message_console(), verbose=verbose) as listener:
        result = prepare(
            files, to, ColumnMapping.from_text(columns, template, roles), record_format or None,
            [name.strip() for name in steps.split(",")] if steps else None, settings, recipe,
            sources, workers=workers, runner=runner, listener=listener, provenance=provenance, report=with_report,
            overwrite=overwrite, resume=resume,
        )  # fmt: skip
    if output == "json":
        print_json(result.as_dict())
        return
    console = result_console()
    if diff:
        for change in _changes(result.folder):
            console.print(change, soft_wrap=not console.is_terminal)
    console.print(report(result), soft_wrap=not console.is_terminal)


def report(result: PrepareResult) -> RenderableType:
    """What each step did, why rows were dropped, and what was written."""
    steps = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
    for title in ("step", "rows", "kept", "dropped", "changed rows", "changed completions"):
        steps.add_column(title, justify="left" if title == "step" else "right")
    lines: list[RenderableType] = []
    for name, step in result.account["steps"].items():
        dropped = sum(step["dropped"].values())
        figures = (step["rows"], step["kept"], dropped, step["changed_rows"], step["changed_completions"])
        steps.add_row(name, *(f"{figure:,}" for figure in figures))
        lines += _details(name, step)
    counts = ", ".join(f"{name} {count:,}" for name, count in result.account["counts"].items())
    left = ", ".join(result.account["fields_left_out"])
    if left:
        lines.append(Text(visible(f"Columns that are not written: {left}"), "yellow"))
    end = [Text.assemble("\nWritten: ", (visible(str(result.folder)), "bold"), f" ({counts})")]
    if result.report:
        end.append(Text.assemble("Report: ", (visible(str(result.report)), "bold")))
    return Group(steps, *([Text(), *lines] if lines else []), *end)


def _details(name: str, step: Mapping[str, Any]) -> Iterator[RenderableType]:
    for reason, count in step["dropped"].items():
        yield Text(visible(f"{name} dropped {count:,}: {reason}"), "yellow")
        yield from (Text(visible(f"    {example}"), "dim") for example in step["examples"].get(reason, [])[:2])
    for kind, title in (("changed_texts", "changed"), ("notes", "noted")):
        if step[kind]:
            said = ", ".join(f"{code} {count:,}" for code, count in step[kind].items())
            yield Text(visible(f"{name} {title}: {said}"))


def _changes(folder: Path) -> Iterator[RenderableType]:
    with (folder / CHANGES_FILE).open(encoding="utf-8") as file:
        for line in file:
            change = json.loads(line)
            place = (
                f"{change['file']}:{change['line']} {change['step']}, {change['field']}: {', '.join(change['codes'])}"
            )
            yield Text(visible(place), "cyan")
            if change["before"] is not None:
                yield Text(f"  - {_shown(change['before'])}", "red")
            yield Text(f"  + {_shown(change['after'])}", "green")


def _shown(text: str) -> str:
    return visible(text).replace("\n", "\n    ")
