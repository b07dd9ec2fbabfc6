"""Options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outcrop.cli.console import Output

MODEL_WORDS = "a folder, bundled:NAME or hf:ORG/NAME"
DATA_WORDS = "A file or a folder of records; .gz, .xz, .zst and .bz2 are read directly. Repeatable."
RECORDS = "Records"

OutputOption = Annotated[
    Output,
    typer.Option(
        "--output", metavar="text|json", help="How to print the result: text for people, or one JSON object on stdout."
    ),
]
FilesArgument = Annotated[
    list[str], typer.Argument(metavar="FILE…", help="Files of records, or folders of .txt and .md files.")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Show also what is at its default.")]
BaseOption = Annotated[str, typer.Option("--base", metavar="MODEL", help=f"The base model: {MODEL_WORDS}.")]
DataOption = Annotated[list[str], typer.Option("--data", metavar="FILE|DIR", help=DATA_WORDS)]
ToOption = Annotated[
    Path, typer.Option("--to", metavar="DIR", help="The folder to make. Nothing appears in it unless all went well.")
]
ValidationOption = Annotated[
    list[str] | None,
    typer.Option(
        "--validation",
        metavar="FILE|DIR",
        help="Rows for early stopping. Default: a share of --data is held out. Repeatable.",
    ),
]
TestOption = Annotated[
    list[str] | None,
    typer.Option("--test", metavar="FILE|DIR", help="Rows of the sealed test, never trained on. Repeatable."),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is in --to.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --to.")]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="Queue it as a job and return at once: see outcrop jobs.")
]
MapOption = Annotated[
    str,
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN,…",
        rich_help_panel=RECORDS,
        help="Which columns to read: prompt=text,completion=label",
    ),
]
TemplateOption = Annotated[
    str,
    typer.Option(
        "--template",
        metavar="TEXT",
        rich_help_panel=RECORDS,
        help='How a prompt is written, with {fields}: "Message: {prompt}\\nIntent:"',
    ),
]
RolesOption = Annotated[
    str,
    typer.Option(
        "--roles",
        metavar="ROLE=NAME,…",
        rich_help_panel=RECORDS,
        help="What mapped messages call the roles: user=USER,assistant=SYSTEM",
    ),
]
DropOption = Annotated[
    bool,
    typer.Option(
        "--drop-bad-rows", rich_help_panel=RECORDS, help="Leave out rows with defects, counted, instead of refusing."
    ),
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="NAME",
        rich_help_panel=RECORDS,
        help="The format of the records. Default: recognised from the first rows.",
    ),
]

STATED = "Provenance, as you state it"
SourceOption = Annotated[
    list[str] | None, typer.Option("--source", rich_help_panel=STATED, help="Where rows come from. Repeatable.")
]
LicenceOption = Annotated[
    list[str] | None, typer.Option("--licence", rich_help_panel=STATED, help="Their licence. Repeatable.")
]
AttributionOption = Annotated[str, typer.Option("--attribution", rich_help_panel=STATED, help="Whom to name.")]
