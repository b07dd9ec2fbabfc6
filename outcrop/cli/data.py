"""`outcrop data`: check, prepare, split and look at records."""

from __future__ import annotations

from collections import abc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from outcrop.cli.anonymise import anonymise_files, restore_file
from outcrop.cli.console import Output, message_console, print_json, result_console, visible
from outcrop.cli.describe import bias_files, card_files, compare_files
from outcrop.cli.help import Command, CommandGroup
from outcrop.cli.mask import render as render_mask
from outcrop.cli.options import (
    MODEL_WORDS,
    FilesArgument,
    FormatOption,
    MapOption,
    OutputOption,
    OverwriteOption,
    RolesOption,
    TemplateOption,
)
from outcrop.cli.prepare import prepare_files
from outcrop.cli.progress import progress
from outcrop.cli.results import figures_and_tables
from outcrop.cli.steps import show_steps
from outcrop.cli.synthesise import synthesise_rows
from outcrop.cli.workflows import load
from outcrop.core.errors import UsageError
from outcrop.data.draw import SplitSpec
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.reading import read
from outcrop.data.records import Record, parts
from outcrop.data.validation import CheckResult, CheckSpec
from outcrop.workflows.check_data import check_data, split_data

SHOWN_COUNTS = 12
SPLIT_FIELDS = (
    "folder", "seed", "counts", "left_out", "clusters", "groups", "times", "proof", "digests", "fields_left_out"
)

AgainstOption = Annotated[
    list[str] | None,
    typer.Option("--against", metavar="FILE", help="A file that must share no prompt with these. Repeatable."),
]
LabelsOption = Annotated[
    Path | None, typer.Option("--labels", metavar="FILE", help="The labels that answers may be, one per line.")
]
MaxCharsOption = Annotated[
    int | None, typer.Option("--max-chars", metavar="N", min=1, help="Longest row, in characters.")
]
DoubtOption = Annotated[
    bool, typer.Option("--doubtful-labels", help="Report labels that a model trained on the other rows contradicts.")
]
MaskOption = Annotated[bool, typer.Option("--mask", help="Show the tokens that --base would be trained on.")]
BaseOption = Annotated[
    str, typer.Option("--base", metavar="MODEL", help=f"With --mask, whose tokenizer and chat template: {MODEL_WORDS}.")
]
RowsOption = Annotated[int, typer.Option("--rows", metavar="N", min=1, help="How many records to show.")]
FolderOption = Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to make.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the draw.")]
GroupOption = Annotated[
    str,
    typer.Option("--group-by", metavar="FIELD", help="Keep rows with an equal field in one part: customer, document."),
]
TimeOption = Annotated[
    str, typer.Option("--time-by", metavar="FIELD", help="Split by time: training before validation before test.")
]
ShareOption = Annotated[float, typer.Option(min=0, max=0.99, help="Share of the rows; 0 makes no such part.")]

app = typer.Typer(cls=CommandGroup, no_args_is_help=True, help="Check, prepare, split and look at records.")
app.command("prepare", cls=Command)(prepare_files)
app.command("steps", cls=Command)(show_steps)
app.command("synthesise", cls=Command)(synthesise_rows)
app.command("anonymise", cls=Command)(anonymise_files)
app.command("restore", cls=Command)(restore_file)
app.command("compare", cls=Command)(compare_files)
app.command("bias", cls=Command)(bias_files)
app.command("card", cls=Command)(card_files)


@app.command("check", cls=Command)
def check_files(
    files: FilesArgument,
    *,
    against: AgainstOption = None,
    labels: LabelsOption = None,
    max_chars: MaxCharsOption = None,
    doubtful_labels: DoubtOption = False,
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    output: OutputOption = "text",
) -> None:
    """Name every problem in the data, grouped by kind, with file, line and field.

    Ends with exit code 2 if there are errors; warnings alone do not fail.
    """
    mapping = Mapping.from_text(columns, template, roles)
    spec = CheckSpec.parse({"labels": _labels(labels) if labels else None, "max_chars": max_chars})
    with progress(message_console()) as listener:
        result = check_data(
            files, mapping, record_format or None, against or (), spec, listener=listener,
            doubtful_labels=doubtful_labels,
        )  # fmt: skip
    if output == "json":
        print_json(result.as_dict())
    else:
        console = result_console()
        console.print(_report(result), soft_wrap=not console.is_terminal)
    if not result.ok:
        raise typer.Exit(2)


@app.command("split", cls=Command)
def split_files(
    files: FilesArgument,
    *,
    to: FolderOption,
    seed: SeedOption = 0,
    validation: ShareOption = 0.1,
    test: ShareOption = 0.1,
    group_by: GroupOption = "",
    time_by: TimeOption = "",
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    overwrite: OverwriteOption = False,
    output: OutputOption = "text",
) -> None:
    """Split into train, validation and a sealed test set, almost equal prompts never on two sides.

    Labels keep their shares. With --time-by the parts follow each other in time instead of being drawn.
    Writes train.jsonl, validation.jsonl, test.jsonl and the certificate split.json; or nothing.
    """
    mapping = Mapping.from_text(columns, template, roles)
    spec = SplitSpec(
        seed=seed, validation=validation, test=test, group_by=group_by or None, time_by=time_by or None
    )
    with progress(message_console()) as listener:
        result = split_data(files, to, mapping, record_format or None, spec, listener, overwrite=overwrite)
    fields = result.as_dict()
    if output == "json":
        print_json(fields)
        return
    if result.problems:
        message_console().print(_problems(result.problems))
    result_console().print(figures_and_tables({name: fields[name] for name in SPLIT_FIELDS}))


@app.command("show", cls=Command)
def show_records(
    files: FilesArgument,
    *,
    rows: RowsOption = 3,
    mask: MaskOption = False,
    base: BaseOption = "",
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    output: OutputOption = "text",
) -> None:
    """Show the first records as they are read, with the place each comes from.

    With --mask as the tokens that training would see, the trained ones marked.
    """
    if mask != bool(base):
        missing, given = ("--base", "--mask") if mask else ("--mask", "--base")
        raise UsageError(f"{given} needs {missing}.", "Give both to see what would be trained: --mask --base MODEL.")
    mapping = Mapping.from_text(columns, template, roles)
    if mask:
        _show_mask(base, files, mapping, record_format, rows, output)
        return
    problems = Problems()
    records = list(islice(read(files, mapping, record_format or None, problems), rows))
    if not records:
        problems.raise_errors()
    if output == "json":
        print_json({"records": [_record_fields(record) for record in records], "problems": problems.as_dict()})
        return
    console = result_console()
    console.print(Group(*(_record(record) for record in records)), soft_wrap=not console.is_terminal)
    if problems:
        message_console().print(_problems(problems))


def _show_mask(
    base: str, files: list[str], mapping: Mapping | None, record_format: str, rows: int, output: Output
) -> None:
    with progress(message_console()) as listener:
        listener({"event": "stage", "title": "Loading the libraries"})
        result = load("show-mask")(base, files, mapping, record_format or None, rows, listener)
    if output == "json":
        print_json(result.as_dict())
        return
    console = result_console()
    console.print(render_mask(result.rows), soft_wrap=not console.is_terminal)
    if result.over_long:
        warning = f"{len(result.over_long)} of these rows exceed the model's context of {result.context:,} tokens."
        message_console().print(Text(f"warning: {warning}", "yellow"))
    if result.problems:
        message_console().print(_problems(result.problems))


def _labels(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        remedy = "Give a text file, one label per line."
        raise UsageError(f"--labels {path} cannot be read: {reason}.", remedy) from None
    return tuple(line.strip() for line in lines if line.strip())


def _report(result: CheckResult) -> RenderableType:
    lines = [f"files: {len(result.files)}, usable rows: {result.rows:,}, characters: {result.characters:,}"]
    for title, counts in (("kinds", result.kinds), ("labels", result.labels), ("languages", result.languages)):
        if counts:
            lines.append(f"{title}: {_counted(counts)}")
    if found := result.doubts:
        lines.append(
            f"model of the labels: right on {found.accuracy:.1%} out of fold, contradicts {len(found.doubts):,} rows; "
            f"at most about {found.noise:.1%} of the labels are wrong"
        )
    errors, warnings = result.problems.errors, result.problems.warnings
    verdict = f"{errors:,} errors in {result.problems.rows_with_errors:,} rows, {warnings:,} warnings"
    style = "bold red" if errors else "bold green"
    return Group(*(Text(visible(line)) for line in lines), _problems(result.problems), Text(verdict, style))


def _counted(counts: abc.Mapping[str, int]) -> str:
    """The most frequent names with their counts."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    more = f" … ({len(ranked):,} in all)" if len(ranked) > SHOWN_COUNTS else ""
    return ", ".join(f"{name} {count:,}" for name, count in ranked[:SHOWN_COUNTS]) + more


def _problems(problems: Problems) -> RenderableType:
    return Group(*(Text(visible(line), _style(line)) for line in problems.lines()))


def _style(line: str) -> str:
    return {"error": "bold red", "warning": "yellow"}.get(line.partition(" ")[0], "")


def _record(record: Record) -> RenderableType:
    return Group(Text(str(record.origin), "cyan"), *_parts(record), Text())


def _parts(record: Record) -> Iterator[RenderableType]:
    for part in parts(record):
        yield Text(f"  {part.field}", "bold")
        yield Text(f"    {visible(part.text)}".replace("\n", "\n    "))


def _record_fields(record: Record) -> dict[str, Any]:
    texts = [{"field": part.field, "text": part.text} for part in parts(record)]
    return {"file": record.origin.file, "line": record.origin.line, "parts": texts, "fields": dict(record.fields)}
