"""Tokens and their loss weights, with colour and without."""

from __future__ import annotations

import io
from dataclasses import dataclass

from rich.console import Console

from outcrop.cli.mask import TRAINED, render


@dataclass(frozen=True)
class Row:
    origin: str
    tokens: tuple[tuple[str, float], ...]


ROWS = [
    Row(
        "rows.jsonl:1",
        (("<s>", 0.0), ("Message:", 0.0), (" hi\n", 0.0), ("Intent:", 0.0), (" greet", 1.0), ("</s>", 1.0)),
    ),
    Row("rows.jsonl:2", (("a", 0.0), ("b", 0.5), ("c", 0.0), ("d", 1.0))),
]


def shown(rows: list[Row], *, colour: bool = False) -> str:
    file = io.StringIO()
    system = "truecolor" if colour else None
    Console(file=file, width=100, force_terminal=colour, color_system=system).print(render(rows))
    return file.getvalue()


def test_trained_tokens_stand_in_brackets() -> None:
    lines = shown(ROWS).splitlines()
    assert "Intent:⟦ greet</s>⟧" in lines
    assert "a⟦b⟧×0.5c⟦d⟧" in lines


def test_line_breaks_are_seen() -> None:
    assert "<s>Message: hi↵\n" in shown(ROWS)


def test_shares_are_counted_per_row_and_in_all() -> None:
    text = shown(ROWS)
    assert "rows.jsonl:1 · 2 of 6 tokens trained (33.3%)" in text
    assert "rows.jsonl:2 · 2 of 4 tokens trained (50.0%)" in text
    assert "All 2 rows shown: 4 of 10 tokens trained (40.0%)" in text


def test_there_is_a_legend() -> None:
    assert shown(ROWS).startswith("Trained: ⟦tokens like these⟧")


def test_neighbouring_tokens_differ_in_colour() -> None:
    text = shown([Row("x", (("x", 1.0), ("y", 1.0)))], colour=True)
    assert TRAINED[0] != TRAINED[1]
    assert "\x1b[1;30;42mx" in text
    assert "\x1b[1;30;102my" in text


def test_text_is_no_markup_and_no_control() -> None:
    text = shown([Row("x", (("[red]x[/red]\x1b[2J", 1.0),))])
    assert "⟦[red]x[/red]\\x1b[2J⟧" in text


def test_no_rows_and_empty_rows() -> None:
    assert "no tokens" in shown([])
    assert "empty:1 · no tokens" in shown([Row("empty:1", ())])
