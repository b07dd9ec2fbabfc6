"""`outcrop pretrain`: continue pre-training on text, or make a new base model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outcrop.cli.hyperparameters import Hyperparameters, with_hyperparameters
from outcrop.cli.options import (
    MODEL_WORDS,
    DataOption,
    DetachOption,
    DropOption,
    FormatOption,
    MapOption,
    OutputOption,
    OverwriteOption,
    ResumeOption,
    ToOption,
    ValidationOption,
    VerboseOption,
)
from outcrop.cli.workflows import run
from outcrop.core.errors import UsageError

BaseOption = Annotated[
    str | None, typer.Option("--base", metavar="MODEL", help=f"The model to continue from: {MODEL_WORDS}.")
]
ScratchOption = Annotated[
    Path | None,
    typer.Option("--from-scratch", metavar="SHAPE.toml", help="Make a new base model of this shape instead."),
]
TokenizerOption = Annotated[
    str,
    typer.Option(
        "--tokenizer", metavar="MODEL", help="With --from-scratch: take this model's tokenizer, do not learn one."
    ),
]

GeneralOption = Annotated[
    list[str] | None,
    typer.Option("--general", metavar="FILE|DIR", help="Other text, on which forgetting is measured. Repeatable."),
]


@with_hyperparameters
def pretrain(
    *,
    data: DataOption,
    to: ToOption,
    hyperparameters: Hyperparameters,
    base: BaseOption = None,
    from_scratch: ScratchOption = None,
    tokenizer: TokenizerOption = "",
    validation: ValidationOption = None,
    general: GeneralOption = None,
    columns: MapOption = "",
    record_format: FormatOption = "",
    drop_bad_rows: DropOption = False,
    overwrite: OverwriteOption = False,
    resume: ResumeOption = False,
    detach: DetachOption = False,
    verbose: VerboseOption = False,
    output: OutputOption = "text",
) -> None:
    """Continue the pre-training of a base model on unlabelled text.

    Adapts a model to the language of a domain; with --from-scratch it makes a new base model by the same loop.
    """
    if (base is None) == (from_scratch is None):
        both = "--base and --from-scratch exclude each other."
        remedy = "Give --base MODEL to continue from a model, or --from-scratch SHAPE.toml to make a new one."
        raise UsageError("Neither --base nor --from-scratch is given." if base is None else both, remedy)
    run(
        "pretrain", output, verbose, detach=detach,
        base=base, data=data, to=str(to), from_scratch=str(from_scratch or ""), tokenizer=tokenizer,
        validation=validation or [], general=general or [],
        settings=hyperparameters.settings, sources=hyperparameters.sources,
        columns=columns, format=record_format, drop_bad_rows=drop_bad_rows, overwrite=overwrite, resume=resume,
    )  # fmt: skip
