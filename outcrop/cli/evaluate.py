"""`outcrop evaluate`: measure models on the same rows."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from outcrop.cli.console import result_console
from outcrop.cli.options import (
    MODEL_WORDS,
    DataOption,
    DropOption,
    FormatOption,
    MapOption,
    OutputOption,
    OverwriteOption,
    RolesOption,
    TemplateOption,
    ToOption,
    VerboseOption,
)
from outcrop.cli.workflows import run

ModelsOption = Annotated[
    list[str],
    typer.Option("--model", metavar="MODEL", help=f"A model to measure: {MODEL_WORDS}. Repeatable; all are compared."),
]
MetricsOption = Annotated[
    list[str] | None,
    typer.Option("--metric", metavar="NAME", help="Default: chosen by the kind of answers. Repeatable."),
]
ShotsOption = Annotated[
    list[int] | None,
    typer.Option(
        "--shots", min=0, metavar="INT", help="Examples in the prompt; default 0. Repeatable: --shots 0 --shots 4"
    ),
]
ShotsFromOption = Annotated[
    list[str] | None,
    typer.Option("--shots-from", metavar="FILE|DIR", help="Where the examples in the prompt come from. Repeatable."),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, metavar="INT", help="Of the draw of examples.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, metavar="INT", help="Measure only the first rows.")]


def evaluate(
    *,
    model: ModelsOption,
    data: DataOption,
    to: ToOption,
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    metric: MetricsOption = None,
    shots: ShotsOption = None,
    shots_from: ShotsFromOption = None,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    drop_bad_rows: DropOption = False,
    overwrite: OverwriteOption = False,
    verbose: VerboseOption = False,
    output: OutputOption = "text",
) -> None:
    """Measure one or more models on the same rows, with intervals.

    Scores come with 95 % intervals and sample sizes; several models are compared pairwise on the same rows.
    Rows are read as the (last) model was trained, unless --map, --template or --format say otherwise.
    """
    run(
        "evaluate", output, verbose,
        models=model, data=data, to=str(to), columns=columns, template=template, roles=roles, format=record_format,
        metrics=metric or [], shots=shots or [0], shots_from=shots_from or [], seed=seed, limit=limit,
        drop_bad_rows=drop_bad_rows, overwrite=overwrite,
    )  # fmt: skip
    if output == "text":
        result_console().print(Text.assemble(("report  ", "cyan"), (str(to / "report.html"), "bold")), soft_wrap=True)
