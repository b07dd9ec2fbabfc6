"""Answers of made-up systems with known behaviour."""

from __future__ import annotations

import random

from outcrop.evaluation.comparison import Answered
from outcrop.evaluation.metrics.metric import Example
from outcrop.evaluation.results import DataFacts

LABELS = ("billing", "cancel", "delivery", "refund")


def labelled(name: str, right: list[bool], labels: tuple[str, ...] = LABELS, invalid: float = 0.0) -> Answered:
    """A system that is right on the rows that say so and gives another or an invalid label elsewhere."""
    chance = random.Random(name)
    examples = []
    for row, ok in enumerate(right):
        truth = labels[row % len(labels)]
        wrong = "no idea" if chance.random() < invalid else labels[(row + 1) % len(labels)]
        examples.append(Example(f"message {row}", (truth,), truth if ok else wrong, labels))
    return Answered(
        name, f"the system {name}", tuple(examples), output_tokens=(3,) * len(right),
        latencies_ms=tuple(float(10 + row % 20) for row in range(len(right))), stopped=(True,) * len(right),
    )


def accuracies(seed: int, rows: int, *shares: float) -> list[list[bool]]:
    """Independent right/wrong rows for several systems."""
    chance = random.Random(seed)
    return [[chance.random() < share for _ in range(rows)] for share in shares]


def written(name: str, texts: list[tuple[str, str]]) -> Answered:
    """A system's free answers: (reference, answer)."""
    rows = enumerate(texts)
    return Answered(name, name, tuple(Example(f"question {row}", (truth,), answer) for row, (truth, answer) in rows))


def data(rows: int, looks: int | None = 1) -> DataFacts:
    return DataFacts("test.jsonl", "sha256:" + "ab" * 32, rows, looks)
