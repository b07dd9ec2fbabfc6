"""Options of sampling, which `generate` and `batch` share, each defined once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from outcrop.core.completions import Sampling, biases_from, token_id
from outcrop.core.errors import UsageError

SAMPLING = "Sampling"
DEFAULTS = Sampling()

TokensOption = Annotated[
    int,
    typer.Option(
        "--max-new-tokens", min=1, metavar="INT", rich_help_panel=SAMPLING, help="The longest answer, in tokens."
    ),
]
TemperatureOption = Annotated[
    float,
    typer.Option(
        "--temperature",
        min=0,
        metavar="FLOAT",
        rich_help_panel=SAMPLING,
        help="0 takes the likeliest token; 1 samples as the model believes.",
    ),
]
TopKOption = Annotated[
    int,
    typer.Option(
        "--top-k",
        min=0,
        metavar="INT",
        rich_help_panel=SAMPLING,
        help="Sample from the k likeliest tokens; 0: from all.",
    ),
]
TopPOption = Annotated[
    float,
    typer.Option(
        "--top-p",
        min=0,
        max=1,
        metavar="FLOAT",
        rich_help_panel=SAMPLING,
        help="Sample from the likeliest tokens that make up this probability.",
    ),
]
MinPOption = Annotated[
    float,
    typer.Option(
        "--min-p",
        min=0,
        max=1,
        metavar="FLOAT",
        rich_help_panel=SAMPLING,
        help="Leave out tokens less likely than this share of the likeliest; 0: none.",
    ),
]
PenaltyOption = Annotated[
    float,
    typer.Option(
        "--repetition-penalty",
        metavar="FLOAT",
        rich_help_panel=SAMPLING,
        help="Above 1, tokens of prompt and answer become less likely.",
    ),
]
BiasOption = Annotated[
    list[str] | None,
    typer.Option(
        "--logit-bias",
        metavar="TOKEN=BIAS,…",
        rich_help_panel=SAMPLING,
        help="What is added to the logit of a token id; -100 forbids it. Repeatable.",
    ),
]
SeedOption = Annotated[
    int,
    typer.Option("--seed", min=0, metavar="INT", rich_help_panel=SAMPLING, help="The same seed gives the same answer."),
]
StopOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stop", metavar="TEXT", rich_help_panel=SAMPLING, help="Ends the answer and is left out of it. Repeatable."
    ),
]


def biases(given: Sequence[str] | None) -> tuple[tuple[int, float], ...]:
    """What --logit-bias says. Raises UsageError for what is no TOKEN=BIAS, and for a token that is named twice."""
    found: dict[int, float] = {}
    for part in (part for text in given or () for part in text.split(",")):
        token, _, bias = (side.strip() for side in part.partition("="))
        try:
            number = float(bias)
        except ValueError:
            raise UsageError(
                f"--logit-bias is {part!r}.", "Write a token id and a number: --logit-bias 1234=-100"
            ) from None
        if token_id(token) in found:
            raise UsageError(f"--logit-bias names token {token} twice.", "Give one of them.")
        found[token_id(token)] = number
    return biases_from(found)
