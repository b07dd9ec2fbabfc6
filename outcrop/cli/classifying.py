"""`outcrop generate --classify`: labels with their probabilities in place of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from outcrop.cli.console import Output, print_json, visible
from outcrop.cli.workflows import load
from outcrop.core.completions import Sampling
from outcrop.core.errors import UsageError

LABELS = "Labels"

ClassifyOption = Annotated[
    bool,
    typer.Option(
        "--classify", rich_help_panel=LABELS,
        help="Write no answer, but how likely each label is as one, the likeliest first.",
    ),
]  # fmt: skip
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="TEXT", rich_help_panel=LABELS,
        help="A label to weigh. Default: those that the model was made for. Repeatable.",
    ),
]  # fmt: skip


def print_labels(model: str, prompt: str, labels: Sequence[str], output: Output) -> None:
    """Print every label with its probability."""
    found = load("classify")(model, prompt, labels)
    if output == "json":
        print_json(found.as_dict())
        return
    for each in found.labels:
        print(f"{each.probability:.4f}  {visible(each.label)}")


def check_labels(classify: bool, labels: Sequence[str], others: Mapping[str, Any], sampling: Mapping[str, Any]) -> None:
    """Raise UsageError for labels without --classify, and for options that have no effect beside it.

    others: options by their name, and whether each is given.
    """
    if labels and not classify:
        raise UsageError("--label belongs to --classify.", "Say --classify, or leave it out.")
    defaults = vars(Sampling())
    given = [name for name, value in others.items() if value]
    given += [_flag(name) for name, value in sampling.items() if name in defaults and value != defaults[name]]
    if classify and given:
        raise UsageError(f"Not used with --classify, which writes nothing: {', '.join(given)}.", "Leave it out.")


def _flag(field: str) -> str:
    return "--stop" if field == "stop_strings" else f"--{field.replace('_', '-')}"
