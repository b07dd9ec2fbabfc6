"""The verbs behind the commands: one lazy table, so that help needs neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from outcrop.cli.console import Output, message_console, print_json, result_console
from outcrop.cli.progress import progress
from outcrop.cli.results import render
from outcrop.core.catalog import Catalog
from outcrop.core.errors import MissingDependency

Workflow = Callable[..., Any]

WORKFLOWS: Catalog[Workflow] = Catalog(
    "workflow",
    {
        "demo": "outcrop.workflows.demo:demo",
        "tune": "outcrop.workflows.fine_tune:tune",
        "pretrain": "outcrop.workflows.pretrain:pretrain",
        "evaluate": "outcrop.workflows.evaluate:evaluate",
        "generate": "outcrop.workflows.generate:generate",
        "stream": "outcrop.workflows.generate:stream",
        "anonymise": "outcrop.workflows.anonymise:anonymise",
        "restore": "outcrop.workflows.anonymise:restore",
        "entity-model": "outcrop.models.entities:EntityModel",
        "show-mask": "outcrop.workflows.show_mask:show_mask",
    },
)


def load(name: str) -> Workflow:
    """The workflow of a name. Raises MissingDependency where a library it needs is not installed."""
    try:
        return WORKFLOWS.load(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "outcrop"):
            raise
        raise MissingDependency.of(package, "train", f"outcrop {name}") from error


def run(name: str, output: Output, verbose: bool, **arguments: Any) -> None:
    """Call a workflow with progress on stderr, and print its result on stdout."""
    with progress(message_console(), verbose=verbose) as listener:
        listener({"event": "stage", "title": "Loading the libraries"})
        result = load(name)(**arguments, listener=listener)
    if output == "json":
        print_json(result.as_dict())
    else:
        result_console().print(render(result))
