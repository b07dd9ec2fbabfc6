"""How well a model predicts rows that it is not trained on, by teacher forcing, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from outcrop.training.batches import Example, pack
from outcrop.training.layout import ROWS, lay_out
from outcrop.training.objective import token_scores
from outcrop.training.trunk import Trunk


class RowScore(NamedTuple):
    """Of one row: nats, the weighted negative log-likelihood of its supervised tokens; weight, the sum of their
    weights; exact, whether greedy decoding would give exactly the reference and then stop."""

    nats: float
    weight: float
    exact: bool


class Evaluation(NamedTuple):
    """loss: mean nats per unit of weight; exact_match: share of rows."""

    loss: float
    exact_match: float


@torch.no_grad()
def score_rows(trunk: Trunk, examples: Sequence[Example], tokens: int, answers_from: int = 0) -> list[RowScore]:
    """Scores of all rows, in order, computing at most `tokens` tokens at once. Leaves the model in evaluation mode.

    answers_from: the first of the tokens that an answer may be, where only the last of the vocabulary may.
    """
    trunk.model.eval()
    device = trunk.head.weight.device
    nats, weights, exact = [0.0] * len(examples), [0.0] * len(examples), [True] * len(examples)
    for group in pack(examples, tokens):
        layout = lay_out([segment for _, segment in group], ROWS).to(device)
        layout = replace(layout, targets=layout.targets - answers_from)
        scores = token_scores(trunk(layout), trunk.head.weight[answers_from:], layout)
        counts = [int((segment.weights[1:] != 0).sum()) for _, segment in group]
        parts = zip(
            (scores.nll * layout.weights).split(counts),
            layout.weights.split(counts),
            scores.right.split(counts),
            strict=True,
        )
        for (number, _), (nll, weight, right) in zip(group, parts, strict=True):
            nats[number] += float(nll.sum())
            weights[number] += float(weight.sum())
            exact[number] &= bool(right.all())
    return [RowScore(*row) for row in zip(nats, weights, exact, strict=True)]


def summarise(scores: Sequence[RowScore]) -> Evaluation:
    """The means that early stopping watches."""
    weight = sum(score.weight for score in scores)
    return Evaluation(
        sum(s.nats for s in scores) / max(weight, 1e-12), sum(s.exact for s in scores) / max(1, len(scores))
    )
