"""What an objective is, and that of tuning and pre-training: weighted cross-entropy at supervised rows"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from outcrop.training.kernels import LinearCrossEntropy, chunk_rows
from outcrop.training.layout import Layout


class TokenScores(NamedTuple):
    """For each supervised token: its negative log-likelihood (nats, fp32), and whether it was the likeliest."""

    nll: Tensor
    right: Tensor


class Loss(NamedTuple):
    """value: what is minimised, with its gradient; shown: what journals tell of it, mean nats per unit of weight."""

    value: Tensor
    shown: Tensor


class Objective(Protocol):
    """What training minimises; the engine and the loop know none by name."""

    def __call__(self, hidden: Tensor, head: Tensor, layout: Layout, total_weight: float) -> Loss:
        """Σ weight · loss / total_weight over a micro-batch. total_weight is that of the whole step, so that
        micro-batches add up to the loss of the undivided batch. hidden [M, E], head [V, E]."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy with the next token, and label smoothing, which is not shown."""

    smoothing: float = 0.0

    def __call__(self, hidden: Tensor, head: Tensor, layout: Layout, total_weight: float) -> Loss:
        """See Objective."""
        weights = layout.weights / total_weight
        return Loss(*LinearCrossEntropy.apply(hidden, head, layout.targets, weights, self.smoothing))


def token_scores(hidden: Tensor, head: Tensor, layout: Layout) -> TokenScores:
    """Scores of supervised tokens without gradients, a chunk of logits at a time."""
    nll, right = [], []
    chunk = chunk_rows(head)
    for part, targets in zip(hidden.split(chunk), layout.targets.split(chunk), strict=True):
        logits = F.linear(part, head).float()
        nll.append(F.cross_entropy(logits, targets, reduction="none"))
        right.append(logits.argmax(-1) == targets)
    return TokenScores(torch.cat(nll), torch.cat(right))
