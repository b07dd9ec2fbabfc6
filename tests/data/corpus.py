"""A clean corpus in every record format, for the tests that plant defects in it or read it back."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

from outcrop.data.formats.catalog import SHAPES
from outcrop.data.records import Conversation, Message, Pair, Record, Text

OPENINGS = ("Why does", "When will", "How often can", "Where should")
THINGS = (
    "the morning train to the harbour", "a broken kitchen window", "our oldest customer in Lisbon",
    "the quarterly budget review", "an unpaid parking ticket", "this wooden garden table",
    "the night shift at the hospital", "a parcel full of winter coats",
)  # fmt: skip
ENDINGS = ("leave so late in the year?", "be repaired without any tools?")

TEXTS = ("input", "text")
PAIRS = ("prompt-completion", "alpaca")
CONVERSATIONS = ("openai-chat", "claude", "bedrock-conversation-2024", "sharegpt")
ROWS = len(OPENINGS) * len(THINGS) * len(ENDINGS)


def prompts() -> list[str]:
    """64 different questions, none nearly equal to another."""
    return [f"{opening} {thing} {ending}" for opening, thing, ending in product(OPENINGS, THINGS, ENDINGS)]


def records(format: str) -> list[Record]:
    """The corpus as the kind of record that a format holds."""
    asked = [(prompt, f"That is what the answer number {number} is for.") for number, prompt in enumerate(prompts())]
    if format in TEXTS:
        return [Text(prompt) for prompt in prompts()]
    if format in PAIRS:
        return [Pair(prompt, answer) for prompt, answer in asked]
    system = (Message("system", "You are of help."),) if format in ("claude", "bedrock-conversation-2024") else ()
    return [
        Conversation((*system, Message("user", prompt), Message("assistant", answer))) for prompt, answer in asked
    ]


def rows(format: str) -> list[dict[str, Any]]:
    """The corpus as rows of a format."""
    shape = SHAPES.load(format)
    return [shape.write(record) for record in records(format)]


def write_jsonl(path: Path, values: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")
    return path
