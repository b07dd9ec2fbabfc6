"""`outcrop demo`: the whole loop on bundled data and a bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outcrop.cli.options import OutputOption, VerboseOption
from outcrop.cli.workflows import run

ToOption = Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to make.")]


def demo(
    *,
    to: ToOption = Path("demo"),
    verbose: VerboseOption = False,
    output: OutputOption = "text",
) -> None:
    """Run the whole loop, offline, in minutes.

    Checks and splits the bundled data, measures the bundled base model, tunes it, and compares both on the sealed test.
    """
    run("demo", output, verbose, to=str(to))
