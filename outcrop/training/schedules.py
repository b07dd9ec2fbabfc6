"""Step size over time."""

from __future__ import annotations

import math


def learning_rate(step: int, *, peak: float, warmup: int, total: int, schedule: str) -> float:
    """Rate of step `step` (from 0): linear rise over `warmup` steps, then "linear" or "cosine" decay to 0 at `total`,
    or "constant"."""
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    done = (step - warmup) / max(1, total - warmup)
    return peak * (1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2)
