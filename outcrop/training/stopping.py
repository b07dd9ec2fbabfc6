"""When to stop, and which weights were best. Semantics: docs/early-stopping.md."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

EXPLOSION = math.log(10)
"""A loss that many nats above where it began, ten times the perplexity, for a whole window, is an explosion."""
WINDOW = 20


@dataclass
class EarlyStopping:
    """Improvement ≥ threshold counts; after `patience` evaluations in a row without it, stop; the best is kept.

    The watched value is a loss (lower is better) or a task metric (higher is better).
    """

    threshold: float
    patience: int
    higher_is_better: bool
    best: float | None = None
    best_loss: float | None = None
    best_step: int = 0
    waited: int = 0

    def update(self, step: int, value: float, loss: float | None = None) -> bool:
        """Take an evaluation; returns whether these are the best weights so far (any improvement, however small).

        loss: the validation loss, which decides while a task metric stands still.
        """
        gain = math.inf if self.best is None else (value - self.best) * (1 if self.higher_is_better else -1)
        if gain == 0 and loss is not None and self.best_loss is not None:
            gain = self.best_loss - loss
        if math.isnan(value):
            gain = -math.inf
        self.waited = 0 if gain >= self.threshold and gain > 0 else self.waited + 1
        if gain > 0:
            self.best, self.best_loss, self.best_step = value, loss, step
        return gain > 0

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {name: getattr(self, name) for name in ("best", "best_loss", "best_step", "waited")}

    def restore(self, state: dict[str, Any]) -> None:
        """Set what `state` returned."""
        for name, value in state.items():
            setattr(self, name, value)


@dataclass
class DivergenceWatch:
    """Notices a loss that is not a number, or that stays far above `start`: by default the loss of the first step."""

    start: float | None = None
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def check(self, loss: float, gradient_norm: float) -> str | None:
        """Take a step's loss and gradient norm; returns why training should end, or None."""
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            return "the loss or its gradient was no longer a number"
        self.start = loss if self.start is None else self.start
        self.recent.append(loss)
        if len(self.recent) == WINDOW and min(self.recent) > self.start + EXPLOSION:
            return (
                f"the perplexity had been over ten times that at the start for {WINDOW} steps (loss {self.start:.3g})"
            )
        return None

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"start": self.start, "recent": list(self.recent)}

    def restore(self, state: dict[str, Any]) -> None:
        """Set what `state` returned."""
        self.start = state["start"]
        self.recent = deque(state["recent"], maxlen=WINDOW)


def overfitting(history: Sequence[tuple[float, float]]) -> bool:
    """Whether validation loss rose while training loss kept falling. history: (training, validation) loss of each
    evaluation. It did if the last two validation losses are more than 2 % above the lowest, and the last training loss
    is below that at the lowest."""
    if len(history) < 3:
        return False
    lowest = min(history, key=lambda losses: losses[1])
    return min(losses[1] for losses in history[-2:]) > 1.02 * lowest[1] and history[-1][0] < lowest[0]
