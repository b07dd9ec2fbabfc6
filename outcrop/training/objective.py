"""The objective of supervised tuning and of pre-training: weighted cross-entropy at supervised rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from outcrop.training.kernels import CHUNK, LinearCrossEntropy
from outcrop.training.layout import Layout


class TokenScores(NamedTuple):
    """For each supervised token: its negative log-likelihood (nats, fp32), and whether it was the likeliest."""

    nll: Tensor
    right: Tensor


def cross_entropy(
    hidden: Tensor, head: Tensor, layout: Layout, total_weight: float, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Σ weight · loss / total_weight over this micro-batch, and the same without label smoothing.

    total_weight is that of the whole step, so that micro-batches add up to the loss of the undivided batch.
    hidden [M, E], head [V, E].
    """
    loss, nll = LinearCrossEntropy.apply(hidden, head, layout.targets, layout.weights / total_weight, smoothing)
    return loss, nll


def token_scores(hidden: Tensor, head: Tensor, layout: Layout) -> TokenScores:
    """Scores of supervised tokens without gradients, a chunk of logits at a time."""
    nll, right = [], []
    for part, targets in zip(hidden.split(CHUNK), layout.targets.split(CHUNK), strict=True):
        logits = F.linear(part, head).float()
        nll.append(F.cross_entropy(logits, targets, reduction="none"))
        right.append(logits.argmax(-1) == targets)
    return TokenScores(torch.cat(nll), torch.cat(right))
