"""A tiny model folder, and labelled rows that it can learn in seconds."""

import json

import pytest

from tests.support.tiny import tiny_model, tiny_tokenizer

INTENTS = {
    "card": "my card {} has not arrived",
    "refund": "please return the money {}",
    "fee": "why was I charged {} a fee",
}

WORDS = ["red", "blue", "round", "heavy", "small", "late", "warm", "cold", "old", "odd", "fast", "thin", "dry"]


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tiny-base")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def rows(tmp_path) -> str:
    """90 rows of three intents; the texts differ by more than a word, so that they are no near-duplicates."""
    words = [
        "red",
        "blue",
        "green",
        "round",
        "heavy",
        "small",
        "late",
        "early",
        "warm",
        "cold",
        "new",
        "old",
        "odd",
        "even",
        "fast",
        "slow",
        "big",
        "thin",
        "dry",
        "wet",
    ]
    path = tmp_path / "rows.jsonl"
    lines = []
    for number in range(90):
        label = list(INTENTS)[number % 3]
        filler = " ".join(words[(number * 7 + i * 3 + number // 3 * i) % len(words)] for i in range(4))
        lines.append(json.dumps({"text": f"{number} " + INTENTS[label].format(filler), "label": label}))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def texts(tmp_path) -> str:
    path = tmp_path / "texts.jsonl"
    path.write_text(
        "".join(json.dumps({"input": f"the card number {n} and the money {n * n} " * 6}) + "\n" for n in range(40))
    )
    return str(path)
