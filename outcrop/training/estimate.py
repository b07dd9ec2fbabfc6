"""Minutes and memory of a run, from timing its own steps on its own rows at rate 0, which changes no weight."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from outcrop.training.batches import BatchPlan, Example
from outcrop.training.engine import TrainingEngine

TIMED_STEPS = 6
Renewal = Callable[[int, Sequence[int], list[Example]], list[Example]]
"""(step, row numbers, their examples) → the examples to take: made with the weights as they are then, and a pure
function of them and of the step."""


@dataclass(frozen=True)
class Estimate:
    """seconds of one step and of one evaluation, the peak memory after timing them, in GB, and the mean loss of the
    untrained model in the timed steps."""

    step_seconds: float
    evaluation_seconds: float
    peak_memory_gb: float
    loss: float

    def minutes(self, steps: int, evaluations: int) -> float:
        """Of a run of that many steps and evaluations."""
        return (steps * self.step_seconds + evaluations * self.evaluation_seconds) / 60


def measure(
    engine: TrainingEngine, plan: BatchPlan, examples: Sequence[Example], evaluation_seconds: float,
    renew: Renewal | None = None,
) -> Estimate:  # fmt: skip
    """Time steps spread over the first epoch, after one to warm up. Leaves weights and optimizer as they were.

    renew: as in training.loop.Task; its time counts.
    """
    step_numbers = sorted({i * (plan.steps_per_epoch - 1) // (TIMED_STEPS - 1) for i in range(TIMED_STEPS)})
    numbers = [plan.step(k) for k in step_numbers]
    batches = [[examples[row] for row in rows] for rows in numbers]
    engine.step(batches[0], 0, 0.0)
    seconds, losses = [], []
    for k, rows, batch in zip(step_numbers, numbers, batches, strict=True):
        start = time.perf_counter()
        losses.append(engine.step(renew(k, rows, batch) if renew else batch, 0, 0.0).loss)
        seconds.append(time.perf_counter() - start)
    engine.optimizer.forget()
    return Estimate(fmean(seconds), evaluation_seconds, peak_memory_gb(), fmean(losses))


def peak_memory_gb() -> float:
    """Peak memory of this process so far: on the accelerator if there is one, else resident. In 10⁹ bytes."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9
