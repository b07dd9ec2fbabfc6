"""`outcrop data synthesise`: a model makes rows of other rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outcrop.cli.console import message_console, print_json, result_console
from outcrop.cli.options import (
    MODEL_WORDS,
    FilesArgument,
    FormatOption,
    MapOption,
    OutputOption,
    OverwriteOption,
    RolesOption,
    TemplateOption,
    ToOption,
)
from outcrop.cli.progress import progress
from outcrop.cli.results import figures_and_tables
from outcrop.cli.workflows import load
from outcrop.data.mapping import Mapping
from outcrop.data.synthesis import SynthesisSpec

SHOWN = ("folder", "rows_read", "already_synthetic", "asked", "made", "dropped")
FIELDS = SynthesisSpec.model_fields


def _help(name: str) -> str:
    doc = FIELDS[name].description or ""
    return f"{doc[0].upper()}{doc[1:]}."


ModelOption = Annotated[str, typer.Option("--model", metavar="MODEL", help=f"Who writes: {MODEL_WORDS}.")]
HowOption = Annotated[str, typer.Option("--how", metavar="paraphrase|answer", help=_help("how"))]
InstructionOption = Annotated[str, typer.Option("--instruction", metavar="TEXT", help=_help("instruction"))]
PerRowOption = Annotated[int, typer.Option("--per-row", metavar="N", min=1, help=_help("per_row"))]
BalanceOption = Annotated[float | None, typer.Option("--balance", metavar="SHARE", help=_help("balance"))]
MostOption = Annotated[int, typer.Option("--most-per-row", metavar="N", min=1, help=_help("most_per_row"))]
TokensOption = Annotated[int, typer.Option("--max-new-tokens", metavar="N", min=1, help=_help("max_new_tokens"))]
TemperatureOption = Annotated[float, typer.Option("--temperature", metavar="T", min=0, help=_help("temperature"))]
TopPOption = Annotated[float, typer.Option("--top-p", metavar="P", help=_help("top_p"))]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help=_help("seed"))]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with an unfinished synthesis; what is written is not written again.")
]


def synthesise_rows(
    files: FilesArgument,
    *,
    model: ModelOption,
    to: ToOption,
    how: HowOption = "paraphrase",
    instruction: InstructionOption = "",
    per_row: PerRowOption = FIELDS["per_row"].default,
    balance: BalanceOption = None,
    most_per_row: MostOption = FIELDS["most_per_row"].default,
    max_new_tokens: TokensOption = FIELDS["max_new_tokens"].default,
    temperature: TemperatureOption = FIELDS["temperature"].default,
    top_p: TopPOption = FIELDS["top_p"].default,
    seed: SeedOption = FIELDS["seed"].default,
    columns: MapOption = "",
    template: TemplateOption = "",
    roles: RolesOption = "",
    record_format: FormatOption = "",
    overwrite: OverwriteOption = False,
    resume: ResumeOption = False,
    output: OutputOption = "text",
) -> None:
    """Have a model paraphrase prompts, or answer texts that have no answer; every new row is marked as synthetic.

    Writes rows.jsonl with the new rows alone, dropped.jsonl and synthesis.json. Splits keep such rows in training.
    """
    spec = SynthesisSpec.parse({
        "how": how, "instruction": instruction, "per_row": per_row, "balance": balance, "most_per_row": most_per_row,
        "max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "seed": seed,
    })  # fmt: skip
    mapping = Mapping.from_text(columns, template, roles)
    with progress(message_console()) as listener:
        listener({"event": "stage", "title": "Loading the libraries"})
        result = load("synthesise")(
            model, files, Path(to), mapping, record_format or None, spec, listener, overwrite=overwrite, resume=resume
        )
    fields = result.as_dict()
    if output == "json":
        print_json(fields)
        return
    result_console().print(figures_and_tables({name: fields[name] for name in SHOWN if fields[name]}))
