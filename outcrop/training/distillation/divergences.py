"""Divergences of two distributions over the same few classes, with their derivatives: the mathematics alone.

Classes are the tokens that are kept of a teacher and one for all others. Shapes: M tokens, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from outcrop.training.distillation.spec import Divergence


class Classes(NamedTuple):
    """Teacher p and student q [M, K] with their logarithms. Classes that are not there have p = q = 0, logarithms 0."""

    p: Tensor
    log_p: Tensor
    q: Tensor
    log_q: Tensor


class Distance(NamedTuple):
    """value [M], and pull [M, K]: q · ∂value/∂q, which stays finite where q vanishes."""

    value: Tensor
    pull: Tensor


def forward_kl(c: Classes, mixture: float) -> Distance:
    """KL(p ‖ q) = Σ p (log p − log q)."""
    return Distance((c.p * (c.log_p - c.log_q)).sum(-1), -c.p)


def reverse_kl(c: Classes, mixture: float) -> Distance:
    """KL(q ‖ p) = Σ q (log q − log p)."""
    ratio = c.log_q - c.log_p
    return Distance((c.q * ratio).sum(-1), c.q * (ratio + 1))


def jensen_shannon(c: Classes, mixture: float) -> Distance:
    """β KL(p ‖ m) + (1 − β) KL(q ‖ m), m = β p + (1 − β) q (Agarwal et al. 2024, arXiv 2306.13649, eq. 1)."""
    log_m = _mixed(c.log_p, c.log_q, mixture)
    ahead, behind = c.log_p - log_m, c.log_q - log_m
    value = (mixture * c.p * ahead + (1 - mixture) * c.q * behind).sum(-1)
    return Distance(value, (1 - mixture) * c.q * behind)


def skewed_kl(c: Classes, mixture: float) -> Distance:
    """KL(p ‖ λ p + (1 − λ) q) (Ko et al. 2024, arXiv 2402.03898, eq. 5)."""
    log_m = _mixed(c.log_p, c.log_q, mixture)
    return Distance((c.p * (c.log_p - log_m)).sum(-1), -(1 - mixture) * c.q * torch.exp(c.log_p - log_m) * (c.p > 0))


def skewed_reverse_kl(c: Classes, mixture: float) -> Distance:
    """KL(q ‖ λ q + (1 − λ) p) (Ko et al. 2024, arXiv 2402.03898, §3.1)."""
    log_m = _mixed(c.log_q, c.log_p, mixture)
    ratio = c.log_q - log_m
    return Distance((c.q * ratio).sum(-1), c.q * (ratio + 1 - mixture * torch.exp(ratio)))


DIVERGENCES: dict[Divergence, Callable[[Classes, float], Distance]] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "jensen_shannon": jensen_shannon,
    "skewed_kl": skewed_kl,
    "skewed_reverse_kl": skewed_reverse_kl,
}


def _mixed(log_first: Tensor, log_second: Tensor, share: float) -> Tensor:
    """log(share · first + (1 − share) · second)."""
    return torch.logaddexp(log_first + math.log(share), log_second + math.log1p(-share))
