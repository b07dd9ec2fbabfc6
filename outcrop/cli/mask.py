"""What is trained, shown: the tokens of a record as the real renderer made them, with their loss weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from outcrop.cli.console import visible

OPEN, CLOSE = "⟦", "⟧"
TRAINED = ("bold black on green", "bold black on bright_green")
CONTEXT = ("dim", "")
"""Two styles each, in turns, so that neighbouring tokens can be told apart."""


class MaskedTokens(Protocol):
    """What a row must offer: where it stands, and its tokens as (piece of text, loss weight)."""

    @property
    def origin(self) -> str:
        """File and line."""
        ...

    @property
    def tokens(self) -> Sequence[tuple[str, float]]:
        """In their order."""
        ...


def render(rows: Sequence[MaskedTokens]) -> RenderableType:
    """All rows with their trained tokens marked by colour and by brackets, a legend, and the trained share."""
    total = sum(len(row.tokens) for row in rows)
    trained = sum(_trained(row) for row in rows)
    parts: list[RenderableType] = [_legend(), Text()]
    for row in rows:
        title = f"{visible(row.origin)} · {_share(_trained(row), len(row.tokens))}"
        parts += [Text(f"── {title}", "dim"), _row_text(row.tokens)]
    parts += [Rule(style="dim"), Text(f"All {len(rows)} rows shown: {_share(trained, total)}", "bold")]
    return Group(*parts)


def _trained(row: MaskedTokens) -> int:
    return sum(weight > 0 for _, weight in row.tokens)


def _share(trained: int, total: int) -> str:
    return f"{trained} of {total} tokens trained ({trained / total:.1%})" if total else "no tokens"


def _legend() -> Text:
    trained = Text.assemble(OPEN, ("tokens", TRAINED[0]), (" like", TRAINED[1]), (" these", TRAINED[0]), CLOSE)
    context = Text.assemble((" tokens", CONTEXT[0]), (" like", CONTEXT[1]), (" these", CONTEXT[0]))
    return Text.assemble("Trained: ", trained, "   context:", context, "   half weight: ⟦…⟧×0.5")


def _row_text(tokens: Sequence[tuple[str, float]]) -> Text:
    line = Text()
    position = 0
    for weight, run in groupby(tokens, key=lambda token: token[1]):
        styles = TRAINED if weight > 0 else CONTEXT
        line.append(OPEN if weight > 0 else "")
        for piece, _ in run:
            line.append(visible(piece).replace("\n", "↵\n"), styles[position % 2])
            position += 1
        line.append(CLOSE if weight > 0 else "")
        line.append(f"×{weight:g}" if weight > 0 and weight != 1 else "")
    return line
