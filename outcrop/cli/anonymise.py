"""`outcrop data anonymise` and `restore`: personal data found, masked, replaced, and put back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outcrop.cli.console import message_console, print_json, result_console
from outcrop.cli.options import FormatOption, MapOption, OutputOption, OverwriteOption, RolesOption, TemplateOption
from outcrop.cli.progress import progress
from outcrop.cli.results import figures_and_tables
from outcrop.cli.workflows import load
from outcrop.data.anonymise.findings import TYPES, UNASKED
from outcrop.data.anonymise.spec import AnonymiseSpec
from outcrop.data.mapping import Mapping

HIDDEN = ("warnings", "seconds")

FilesArgument = Annotated[list[str], typer.Argument(metavar="FILE…", help="Files of records.")]
FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="The file that anonymise wrote.")]
ToOption = Annotated[
    Path | None, typer.Option("--to", metavar="FILE", help="The .jsonl file to write; not needed for a report.")
]
ModeOption = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar="report|mask|replace|drop",
        help="Count only; write <EMAIL_1>; write made-up values of the same form; leave the row out.",
    ),
]
TypesOption = Annotated[
    str,
    typer.Option(
        "--types",
        metavar="TYPE,…",
        help=f"What to look for: {', '.join(TYPES)}. Default: all but {', '.join(UNASKED)}.",
    ),
]
ScoreOption = Annotated[
    float, typer.Option("--min-score", min=0, max=1, help="Least sureness of a finding that counts.")
]
KeepOption = Annotated[
    list[str] | None, typer.Option("--keep", metavar="VALUE", help="A value that stays as it is. Repeatable.")
]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="A secret: the same value gets the same surrogate in all rows. Make one: openssl rand -hex 32 > key",
    ),
]
VaultOption = Annotated[
    Path | None,
    typer.Option(
        "--vault", metavar="FILE", help="Write every replaced value there, readable by you only; needs a key."
    ),
]
VaultGiven = Annotated[Path, typer.Option("--vault", metavar="FILE", help="The vault written with the file.")]
RestoredOption = Annotated[
    Path, typer.Option("--to", metavar="FILE", help="The .jsonl file to write, readable by you only.")
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="DIR",
        help="A local token-classification model (transformers) that finds names, places and organisations too.",
    ),
]


def anonymise_files(
    files: FilesArgument,
    *,
    to: ToOption = None,
    mode: ModeOption = "mask",
    types: TypesOption = "",
    min_score: ScoreOption = 0.5,
    keep: KeepOption = None,
    key_file: KeyOption = "",
    vault: VaultOption = None,
    model: ModelOption = "",
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    overwrite: OverwriteOption = False,
    output: OutputOption = "text",
) -> None:
    """Find personal data and secrets in records, and mask or replace them, or drop their rows.

    Prompts, answers and other columns are treated together, so that the same value stays the same. Then everything is
    searched once more, and what is left is counted.
    """
    given = {"mode": mode, "min_score": min_score, "keep": tuple(keep or ()), "key_file": key_file}
    if types:
        given["types"] = tuple(name.strip() for name in types.split(","))
    spec = AnonymiseSpec.parse(given)
    mapping = Mapping.from_text(columns, template, roles)
    with progress(message_console()) as listener:
        listener({"event": "stage", "title": "Loading the libraries"})
        recogniser = load("entity-model")(model) if model else None
        result = load("anonymise")(
            files, to, mapping, record_format or None, spec, vault, recogniser, listener, overwrite=overwrite
        )
    fields = result.as_dict()
    if output == "json":
        print_json(fields)
        return
    shown = {name: value for name, value in fields.items() if value != "" and name not in HIDDEN}
    result_console().print(figures_and_tables(shown))


def restore_file(
    file: FileArgument,
    *,
    vault: VaultGiven,
    to: RestoredOption,
    overwrite: OverwriteOption = False,
    output: OutputOption = "text",
) -> None:
    """Put the values of a vault back into the file that was anonymised with it."""
    with progress(message_console()) as listener:
        rows = load("restore")(file, vault, to, listener, overwrite=overwrite)
    if output == "json":
        print_json({"to": str(to), "rows": rows})
        return
    result_console().print(figures_and_tables({"to": str(to), "rows": rows}))
