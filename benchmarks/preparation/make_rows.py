"""Generated rows for the benchmark: Zipf-distributed words, lengths from 10 to 200, with planted edited copies."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

SYLLABLES = ["".join(pair) for pair in product("bdfgklmnprstv", "aeiou")]
VOCABULARY = 30_000
COPIES = 0.2
"""Share of the rows that are edited copies of an earlier one."""

LENGTHS = (10, 10, 10, 15, 20, 30, 50, 100, 200)
PERSONAL = ("Write to {}@example.org soon.", "Call (212) 555-01{:02} now.", "Pay with 4111 1111 1111 1111 here.")


def _case(draw: random.Random, text: str, words: list[str]) -> str:
    return draw.choice([text.upper(), text.lower(), text.title()])


def _punctuation(draw: random.Random, text: str, words: list[str]) -> str:
    return " ".join(f"{word.strip('.')}{draw.choice(['', '', ',', ';', '!'])}" for word in text.split())


def _one_word_in_ten(draw: random.Random, text: str, words: list[str]) -> str:
    found = text.split()
    for place in draw.sample(range(len(found)), max(1, len(found) // 10)):
        found[place] = draw.choice(words)
    return " ".join(found)


def _reordered(draw: random.Random, text: str, words: list[str]) -> str:
    sentences = text.removesuffix(".").split(". ")
    draw.shuffle(sentences)
    return ". ".join(sentences) + "."


EDITS: dict[str, Callable[[random.Random, str, list[str]], str]] = {
    "case": _case, "punctuation": _punctuation, "one word in ten": _one_word_in_ten, "reordered": _reordered,
}  # fmt: skip


def vocabulary(seed: int) -> tuple[list[str], list[float]]:
    """Made-up words, each once, and their cumulative weights by Zipf's law."""
    draw = random.Random(seed)
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        words["".join(draw.choices(SYLLABLES, k=draw.choice((1, 2, 2, 3, 3, 4))))] = None
    weights, total = [], 0.0
    for rank in range(1, VOCABULARY + 1):
        total += 1 / (rank + 20)
        weights.append(total)
    return list(words), weights


def rows(count: int, seed: int = 0) -> Iterator[dict[str, object]]:
    """Rows with `prompt`, `completion`, and for a planted copy `copy_of` (the number of its original) and `edit`."""
    draw = random.Random(seed)
    words, weights = vocabulary(seed)
    kept: list[tuple[int, str]] = []
    for number in range(count):
        if kept and draw.random() < COPIES:
            original, text = draw.choice(kept)
            edit = draw.choice(list(EDITS))
            yield _row(number, EDITS[edit](draw, text, words)) | {"copy_of": original, "edit": edit}
            continue
        found = draw.choices(words, cum_weights=weights, k=draw.choice(LENGTHS))
        text = ". ".join(" ".join(found[start : start + 8]).capitalize() for start in range(0, len(found), 8)) + "."
        if draw.random() < 0.02:
            text += " " + draw.choice(PERSONAL).format(number % 100)
        if len(kept) < 200_000:
            kept.append((number, text))
        yield _row(number, text)


def _row(number: int, text: str) -> dict[str, object]:
    return {"prompt": text, "completion": ("refund", "delay", "fee", "card", "other")[number % 5], "id": number}


def write(path: Path, count: int, seed: int = 0) -> dict[int, tuple[int, str]]:
    """Write the rows as JSON lines; returns for each planted copy its original and its edit."""
    planted = {}
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows(count, seed)):
            if "copy_of" in row:
                planted[number] = (int(str(row.pop("copy_of"))), str(row.pop("edit")))
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return planted
