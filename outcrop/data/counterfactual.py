"""Counterfactual rows: the same row about another person, to test whether a model answers otherwise.

Kusner et al. 2017, "Counterfactual Fairness"; exchanged words as in Lu et al. 2018, "Gender Bias in Neural NLP".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from outcrop.core.files import write_atomic
from outcrop.data.certificate import FORMAT_OF
from outcrop.data.formats.catalog import SHAPES
from outcrop.data.records import Conversation, Pair, Record
from outcrop.data.terms import Swap

SYNTHETIC = "synthetic"
"""The field that marks a generated row, with the way it was made."""

ORIGINALS, SWAPPED = "original.jsonl", "swapped.jsonl"
TOKEN = re.compile(r"[^\W\d_]+")
DETERMINED = re.compile(
    r"\s+(?!(?:a|an|and|as|at|because|but|by|for|from|in|is|now|of|on|or|so|that|the|then|to|today|was|were|when|with"
    r"|yesterday)\b)[^\W\d_]",
    re.IGNORECASE,
)
"""What follows a possessive: a word that is not itself the beginning of another phrase."""


class Swapped(NamedTuple):
    """A text with its words exchanged, and what became what, in order of occurrence and once each."""

    text: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Counterfactual:
    """A row and its counterpart. kind: of the swap ("gender"); changes: "he → she"."""

    original: Record
    swapped: Record
    kind: str
    changes: tuple[str, ...]


def swap(text: str, pairs: Swap, *, pronouns: bool = True) -> Swapped:
    """Exchange both words of every pair for each other, keeping the case they are written in.

    pronouns: exchange also he/him/his and she/her/hers where he and she are a pair; "her" is read by what follows.
    """
    words = {one.lower(): other.lower() for pair in pairs.words for one, other in (pair, pair[::-1])}
    names = {one: other for pair in pairs.names for one, other in (pair, pair[::-1])}
    possessive = pronouns and words.get("he") == "she"
    changes: dict[str, None] = {}

    def exchange(match: re.Match[str]) -> str:
        word = match.group()
        other = names.get(word)
        if other is None:
            plain = word.lower()
            found = _pronoun(plain, text[match.end() :]) if possessive else None
            found = found or words.get(plain)
            if found is None:
                return word
            other = _cased(found, word)
        changes[f"{word} → {other}"] = None
        return other

    return Swapped(TOKEN.sub(exchange, text), tuple(changes))


def counterfactuals(records: Iterable[Record], swaps: dict[str, Swap]) -> list[Counterfactual]:
    """For every record and kind of swap the record with prompt and answer exchanged, where its prompt changes.

    The new record says in its fields how it was made and from which row.
    """
    found = []
    for record in records:
        for kind, pairs in swaps.items():
            changed, changes = _changed(record, lambda text, pairs=pairs: swap(text, pairs))  # type: ignore[misc]
            if changes:
                made = {SYNTHETIC: f"counterfactual {kind}", "of": str(record.origin), "swapped": list(changes)}
                found.append(Counterfactual(record, replace(changed, fields={**record.fields, **made}), kind, changes))
    return found


def write_counterfactuals(found: Sequence[Counterfactual], folder: Path) -> None:
    """Write original.jsonl and swapped.jsonl into a folder, line by line the same row; both are for testing only."""
    for name, rows in (
        (ORIGINALS, [(each.original, {"of": str(each.original.origin)}) for each in found]),
        (SWAPPED, [(each.swapped, _marks(each.swapped)) for each in found]),
    ):
        lines = [
            json.dumps(SHAPES.load(FORMAT_OF[type(record)]).write(record) | marks, ensure_ascii=False) + "\n"
            for record, marks in rows
        ]
        write_atomic(folder / name, "".join(lines))


def _marks(record: Record) -> dict[str, object]:
    return {name: record.fields[name] for name in (SYNTHETIC, "of", "swapped")}


def _changed(record: Record, exchange: Callable[[str], Swapped]) -> tuple[Record, tuple[str, ...]]:
    """The record with every text exchanged, and the changes of what the model is given, none if it is the same."""
    if isinstance(record, Pair):
        prompt, answer = exchange(record.prompt), exchange(record.completion)
        return replace(record, prompt=prompt.text, completion=answer.text), prompt.changes
    if isinstance(record, Conversation):
        turns = [exchange(turn.content) for turn in record.messages]
        messages = tuple(
            replace(turn, content=made.text) for turn, made in zip(record.messages, turns, strict=True)
        )
        given = [made for turn, made in zip(record.messages[:-1], turns[:-1], strict=True) if turn.role != "assistant"]
        return replace(record, messages=messages), tuple(dict.fromkeys(c for made in given for c in made.changes))
    made = exchange(record.text)
    return replace(record, text=made.text), made.changes


def _pronoun(word: str, rest: str) -> str | None:
    if word == "him":
        return "her"
    if word == "hers":
        return "his"
    if word == "her":
        return "his" if DETERMINED.match(rest) else "him"
    if word == "his":
        return "her" if DETERMINED.match(rest) else "hers"
    return None


def _cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.capitalize() if like[0].isupper() else word
