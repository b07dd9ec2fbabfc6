"""Names that Bedrock's evaluation jobs have for metrics, and which of ours score single rows and go by their own."""

from __future__ import annotations

BUILTIN = {
    ("Classification", "Builtin.Accuracy"): "accuracy",
    ("QuestionAndAnswer", "Builtin.Accuracy"): "squad_f1",
}
"""Type of task, Bedrock's name → our metric that computes the same."""

BY_ROW = (
    "accuracy", "exact_match", "squad_exact_match", "squad_f1", "numeric_match", "numeric_match_strict", "rouge_l",
)  # fmt: skip
"""Metrics that need an answer and a reference, and score every row."""


def metric_of(task: str, name: str) -> str | None:
    """Our metric of a name in a task, or None where there is none."""
    return name if name in BY_ROW else BUILTIN.get((task, name))
