"""`outcrop data compare`, `bias` and `card`: what a data set is like, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from outcrop.cli.console import message_console, print_json, result_console, visible
from outcrop.cli.options import (
    STATED,
    AttributionOption,
    FormatOption,
    LicenceOption,
    MapOption,
    OutputOption,
    OverwriteOption,
    RolesOption,
    SourceOption,
    TemplateOption,
)
from outcrop.cli.progress import progress
from outcrop.data.bias import BiasTable
from outcrop.data.card import Provenance, name_of, written
from outcrop.data.mapping import Mapping
from outcrop.data.representative import CompareSpec, Representativeness
from outcrop.workflows.describe_data import (
    BiasSpec,
    CardResult,
    Production,
    compare_data,
    describe_data,
    find_bias,
)

SHOWN_KINDS, SHOWN_EXAMPLES, SHOWN_ROWS = 5, 2, 15
PRODUCTION = "Production"

FilesArgument = Annotated[
    list[str], typer.Argument(metavar="FILE…", help="Files of records, or folders of .txt and .md files.")
]
SubjectArgument = Annotated[
    list[str], typer.Argument(metavar="FILE…", help="Files of records, or the folder of a split or a preparation.")
]
ProductionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--production", metavar="FILE", rich_help_panel=PRODUCTION,
        help="A sample of production inputs, answers optional. Repeatable.",
    ),
]  # fmt: skip
ProductionMapOption = Annotated[
    str,
    typer.Option(
        "--production-map", metavar="FIELD=COLUMN,…", rich_help_panel=PRODUCTION,
        help="Which of its columns to read. Default: as the records.",
    ),
]  # fmt: skip
ByOption = Annotated[
    list[str] | None, typer.Option("--by", metavar="FIELD", help="Compare the values of a field. Repeatable.")
]
TermsOption = Annotated[
    str, typer.Option("--terms", metavar="FILE.toml", help="Words of groups of people; default: English ones.")
]
ExpectedOption = Annotated[
    str, typer.Option("--expected", metavar="FILE.json", help="The shares that labels should have: label: share.")
]
DoubtOption = Annotated[
    bool, typer.Option("--doubtful-labels", help="Count labels that a model trained on the other rows contradicts.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")]
SampleOption = Annotated[int, typer.Option("--sample", metavar="N", min=100, help="Most rows compared of either side.")]
OptionalFolder = Annotated[
    Path | None, typer.Option("--to", metavar="DIR", help="A folder to make with the result and the rows it proposes.")
]
FolderOption = Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to make.")]
NameOption = Annotated[str, typer.Option("--name", rich_help_panel=STATED, help="Default: the first file's name.")]
DescriptionOption = Annotated[str, typer.Option("--description", rich_help_panel=STATED, help="What the rows are for.")]



def compare_files(
    files: FilesArgument,
    *,
    production: ProductionOption = None,
    production_map: ProductionMapOption = "",
    to: OptionalFolder = None,
    sample: SampleOption = 10_000,
    seed: SeedOption = 0,
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    overwrite: OverwriteOption = False,
    output: OutputOption = "text",
) -> None:
    """Measure how training rows differ from a sample of production inputs, and propose what would mend it.

    With --to writes comparison.json and weights.jsonl, an importance weight for each row.
    """
    mapping = Mapping.from_text(columns, template, roles)
    with progress(message_console()) as listener:
        result = compare_data(
            files, Production(paths=tuple(production or ()), columns=production_map), mapping, record_format or None,
            CompareSpec(seed=seed, sample=sample), to, listener, overwrite=overwrite,
        )  # fmt: skip
    if output == "json":
        print_json(result.as_dict())
        return
    console = result_console()
    console.print(Group(*_comparison(result.found), *_folder(result.folder)), soft_wrap=not console.is_terminal)


def bias_files(
    files: FilesArgument,
    *,
    by: ByOption = None,
    terms: TermsOption = "",
    expected: ExpectedOption = "",
    doubtful_labels: DoubtOption = False,
    production: ProductionOption = None,
    production_map: ProductionMapOption = "",
    to: OptionalFolder = None,
    seed: SeedOption = 0,
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    overwrite: OverwriteOption = False,
    output: OutputOption = "text",
) -> None:
    """Measure bias of selection, sampling, labels and history, and say what the tables cannot tell.

    With --to writes bias.json, and rows with names and pronouns exchanged: original.jsonl and swapped.jsonl, line by
    line the same row, to test whether a model answers them alike.
    """
    spec = _spec(by, terms, expected, doubtful_labels, seed)
    with progress(message_console()) as listener:
        result = find_bias(
            files, Mapping.from_text(columns, template, roles), record_format or None, spec,
            Production(paths=tuple(production or ()), columns=production_map), to, listener, overwrite=overwrite,
        )  # fmt: skip
    if output == "json":
        print_json(result.as_dict())
        return
    console = result_console()
    rows = Text(f"counterfactual rows: {len(result.counterfactuals):,}")
    parts = [part for table in result.tables for part in _bias_table(table)]
    console.print(Group(*parts, rows, *_folder(result.folder)), soft_wrap=not console.is_terminal)


def card_files(
    files: SubjectArgument,
    *,
    to: FolderOption,
    name: NameOption = "",
    description: DescriptionOption = "",
    source: SourceOption = None,
    licence: LicenceOption = None,
    attribution: AttributionOption = "",
    by: ByOption = None,
    terms: TermsOption = "",
    expected: ExpectedOption = "",
    doubtful_labels: DoubtOption = False,
    production: ProductionOption = None,
    production_map: ProductionMapOption = "",
    seed: SeedOption = 0,
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    overwrite: OverwriteOption = False,
    output: OutputOption = "text",
) -> None:
    """Describe a data set: a report to look at, and a card with provenance, licences and digests.

    Writes report.html, card.md and card.json. Of the folder of a split or preparation the sealed test is not read.
    """
    called = name or name_of(files[0])
    provenance = Provenance(called, description, tuple(source or ()), tuple(licence or ()), attribution)
    with progress(message_console()) as listener:
        result = describe_data(
            files, to, provenance, Mapping.from_text(columns, template, roles), record_format or None,
            _spec(by, terms, expected, doubtful_labels, seed),
            Production(paths=tuple(production or ()), columns=production_map), listener, overwrite=overwrite,
        )  # fmt: skip
    if output == "json":
        print_json(result.as_dict())
        return
    result_console().print(Group(*_card(result)))


def _spec(by: list[str] | None, terms: str, expected: str, doubtful_labels: bool, seed: int) -> BiasSpec:
    return BiasSpec(
        fields=tuple(by or ()), terms=terms or None, expected=expected or None, seed=seed,
        doubtful_labels=doubtful_labels,
    )


def _comparison(found: Representativeness) -> Iterator[RenderableType]:
    rows = [
        (each.aspect, f"{each.divergence.value:.3f}", f"{each.divergence.low:.3f} to {each.divergence.high:.3f}",
         f"{each.by_chance:.3f}", written(each.p, "p"), f"{each.reweighted:.3f}")
        for each in found.differences
    ]  # fmt: skip
    yield _table(("aspect", "divergence, bits", "95 % interval", "by chance", "p", "reweighted"), rows)
    yield Text()
    yield from (Text(visible(sentence)) for sentence in found.conclusions)
    for kind in found.missing[:SHOWN_KINDS]:
        said = f"{kind.rows:,} production rows ({kind.share:.1%}) unlike any training row"
        yield Text(visible(f"{said}: {', '.join(kind.words)}"), "yellow")
        for row in kind.examples[:SHOWN_EXAMPLES]:
            yield Text(visible(f"    {row.file}:{row.line}: {row.text}"), "dim")


def _bias_table(table: BiasTable) -> Iterator[RenderableType]:
    yield Text(table.title, "bold")
    if table.rows:
        cells = [
            [visible(written(value, column.unit)) for value, column in zip(row, table.columns, strict=True)]
            for row in table.rows[:SHOWN_ROWS]
        ]
        yield _table([column.name for column in table.columns], cells)
        if len(table.rows) > SHOWN_ROWS:
            yield Text(f"… and {len(table.rows) - SHOWN_ROWS:,} more rows", "dim")
    yield from (Text(visible(sentence)) for sentence in table.concluded)
    yield from (Text(visible(f"Open: {sentence}"), "dim") for sentence in table.open)
    yield Text()


def _card(result: CardResult) -> Iterator[RenderableType]:
    found, problems = result.card.profile, result.card.problems
    yield Text(f"{found.rows:,} rows, {found.repeated:,} with an almost equal prompt elsewhere")
    yield Text(f"{problems.errors:,} errors, {problems.warnings:,} warnings")
    yield from _folder(result.folder)


def _folder(folder: Path | None) -> list[RenderableType]:
    return [Text.assemble("\nWritten: ", (visible(str(folder)), "bold"))] if folder else []


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
    for title in titles:
        table.add_column(title, justify="left" if title == titles[0] else "right")
    for row in rows:
        table.add_row(*row)
    return table
