"""Where a run is: all that a checkpoint keeps besides tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, NamedTuple

from outcrop.training.scoring import Evaluation
from outcrop.training.stopping import DivergenceWatch, EarlyStopping, overfitting

PLAIN = ("total", "step", "seconds", "estimated_minutes", "before", "history", "recent", "overfitted")
"""The fields that JSON can hold as they are."""


class Losses(NamedTuple):
    """At an evaluation: the mean training loss since the one before, and the validation loss."""

    training: float
    validation: float


@dataclass
class Progress:
    """stopping, watch: what decides when to end; total: steps to take, step: steps taken; seconds: spent on them in
    all attempts; before: the evaluation of the base model; history: of each later one; recent: training losses since
    the last one; overfitted: whether overfitting has shown."""

    stopping: EarlyStopping
    watch: DivergenceWatch
    total: int
    step: int = 0
    seconds: float = 0.0
    estimated_minutes: float = 0.0
    before: Evaluation | None = None
    history: list[Losses] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)
    overfitted: bool = False

    def remember(self, found: Evaluation) -> bool:
        """Take an evaluation into the history; returns whether it is the first to show overfitting."""
        self.history.append(Losses(fmean(self.recent), found.loss))
        self.recent = []
        first = overfitting(self.history) and not self.overfitted
        self.overfitted |= first
        return first

    def state(self) -> dict[str, Any]:
        """JSON-ready, for a checkpoint."""
        plain = {name: getattr(self, name) for name in PLAIN}
        return {"stopping": self.stopping.state(), "watch": self.watch.state(), **plain}

    def restore(self, state: dict[str, Any]) -> None:
        """Set what `state` returned."""
        self.stopping.restore(state["stopping"])
        self.watch.restore(state["watch"])
        for name in PLAIN:
            setattr(self, name, state[name])
        self.before = Evaluation(*self.before) if self.before else None
        self.history = [Losses(*pair) for pair in self.history]
