"""`outcrop models`: the bundled base models, and what is known of a model folder. Reads headers only, never weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from outcrop.cli.console import print_json, result_console, visible
from outcrop.cli.help import Command, CommandGroup
from outcrop.cli.options import MODEL_WORDS, OutputOption
from outcrop.cli.results import figures_and_tables
from outcrop.models.folder import CARD, ModelFolder, bundled_names, find_model
from outcrop.store.lookups import published_folder, tables

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=f"{MODEL_WORDS[0].upper()}{MODEL_WORDS[1:]}.")]

app = typer.Typer(cls=CommandGroup, no_args_is_help=True)


@app.command("list", cls=Command)
def list_models(*, output: OutputOption = "text") -> None:
    """List the base models that come with Outcrop."""
    found = [_facts(find_model(f"bundled:{name}")) for name in bundled_names()]
    if output == "json":
        print_json({"models": found})
    elif found:
        result_console().print(_table(found))
    else:
        result_console().print("No base model is bundled with this installation.")


@app.command("show", cls=Command)
def show_model(model: ModelArgument, *, output: OutputOption = "text") -> None:
    """Show what is known of a model: its size, its base, its outcrop.json."""
    facts = _facts(find_model(model))
    if output == "json":
        print_json(facts)
        return
    card = facts.pop(CARD)
    result_console().print(figures_and_tables(facts | card))
    if not card:
        result_console().print(f"The folder has no {CARD}: it was not made by Outcrop.", style="dim")


@app.command("published", cls=Command)
def list_published(*, output: OutputOption = "text") -> None:
    """List the tables of published answers, and how often they were of use."""
    found = []
    for table in tables(published_folder()):
        with table:
            found.append(asdict(table.summary()))
    if output == "json":
        print_json({"published": found})
    elif found:
        result_console().print(figures_and_tables({"published": found}))
    else:
        result_console().print("No answers are published. See: outcrop batch --publish NAME")


def _facts(model: ModelFolder) -> dict[str, Any]:
    return {
        "name": model.name,
        "folder": str(model.path),
        "adapter_of": model.base.name if model.base else None,
        "licence": model.licence,
        "parameters": model.parameters,
        "bytes": sum(path.stat().st_size for path in model.path.iterdir() if path.is_file()),
        CARD: model.card,
    }


def _table(models: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="cyan")
    table.add_column("model", no_wrap=True)
    table.add_column("parameters", justify="right")
    table.add_column("size", justify="right")
    table.add_column("licence")
    for model in models:
        licence = visible(model["licence"] or "–")
        size = f"{model['bytes'] / 1e6:.1f} MB"
        table.add_row(Text(model["name"], "bold"), f"{model['parameters']:,}", size, licence)
    return table
