"""`outcrop tune`: fine-tune a base model on labelled records."""

from __future__ import annotations

from outcrop.cli.hyperparameters import Hyperparameters, with_hyperparameters
from outcrop.cli.options import (
    BaseOption,
    DataOption,
    DetachOption,
    DropOption,
    FormatOption,
    MapOption,
    OutputOption,
    OverwriteOption,
    ResumeOption,
    RolesOption,
    TemplateOption,
    TestOption,
    ToOption,
    ValidationOption,
    VerboseOption,
)
from outcrop.cli.workflows import run


@with_hyperparameters
def tune(
    *,
    base: BaseOption,
    data: DataOption,
    to: ToOption,
    hyperparameters: Hyperparameters,
    validation: ValidationOption = None,
    test: TestOption = None,
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    drop_bad_rows: DropOption = False,
    overwrite: OverwriteOption = False,
    resume: ResumeOption = False,
    detach: DetachOption = False,
    verbose: VerboseOption = False,
    output: OutputOption = "text",
) -> None:
    """Fine-tune a base model on labelled records.

    Checks the data, shows what was resolved from where and what it will take, trains with early stopping,
    and keeps the best weights in --to.
    """
    run(
        "tune", output, verbose, detach=detach,
        base=base, data=data, to=str(to), validation=validation or [], test=test or [],
        settings=hyperparameters.settings, sources=hyperparameters.sources,
        columns=columns, template=template, roles=roles, format=record_format,
        drop_bad_rows=drop_bad_rows, overwrite=overwrite, resume=resume,
    )  # fmt: skip
