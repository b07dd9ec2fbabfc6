"""`outcrop evaluate`: measure models on the same rows."""

from __future__ import annotations

from typing import Annotated

import typer

from outcrop.cli.options import (
    MODEL_WORDS,
    DataOption,
    FormatOption,
    MapOption,
    OutputOption,
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
SeedOption = Annotated[int, typer.Option("--seed", min=0, metavar="INT", help="Of the examples and of sampled rows.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, metavar="INT", help="Rows to measure; default all.")]


def evaluate(
    *,
    model: ModelsOption,
    data: DataOption,
    to: ToOption,
    columns: MapOption = "",
    template: TemplateOption = "",
    record_format: FormatOption = "",
    metric: MetricsOption = None,
    shots: ShotsOption = None,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    verbose: VerboseOption = False,
    output: OutputOption = "text",
) -> None:
    """Measure one or more models on the same rows, with intervals.

    Scores come with 95 % intervals and sample sizes; several models are compared pairwise on the same rows.
    """
    run(
        "evaluate", output, verbose,
        models=model, data=data, to=str(to), columns=columns, template=template, format=record_format,
        metrics=metric or [], shots=shots or [0], seed=seed, limit=limit,
    )  # fmt: skip
