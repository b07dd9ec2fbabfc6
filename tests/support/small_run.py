"""A run of the real training loop that takes a second: learnable rows, dropout, evaluations, early stopping."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from outcrop.core.events import Listener, ignore
from outcrop.training.batches import Example
from outcrop.training.engine import TrainingEngine
from outcrop.training.loop import Outcome, Task, TrainingRun
from tests.support.documents import documents, rows
from tests.support.tiny import tiny_model
from tests.support.training import spec

LENGTHS = [9, 12, 6, 14, 10, 7, 11, 8] * 3
SETTINGS: dict[str, Any] = {
    "epochs": 8,
    "batch_size": 4,
    "evaluations_per_epoch": 2,
    "early_stopping_patience": 4,
    "learning_rate": 1e-2,
    "schedule": "constant",
}


def task(metric: str | None = None) -> Task:
    """Random rows to learn by heart; half of the validation rows are among them, so that its loss falls, then rises."""
    train = rows(documents(LENGTHS, prefix=4))
    held: list[Example] = [*train[::3], *rows(documents(LENGTHS[::2], seed=1, prefix=4))]
    return Task(train, held, metric, {"rows": "of the test"})


def run(
    folder: Path,
    listener: Listener = ignore,
    *,
    of: Task | None = None,
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> tuple[Outcome, Tensor]:
    """Start in `folder`, or go on there; returns the outcome and the final weights."""
    chosen = spec(**SETTINGS | settings)
    engine = TrainingEngine(tiny_model(), chosen, dtype)
    outcome = TrainingRun(engine, of or task(), chosen, folder, listener).run()
    return outcome, engine.flat.master


def run_in_child(folder: str, events: Connection, settings: dict[str, Any]) -> None:
    """For a process of its own: every event goes through the pipe, the outcome and the weights last."""
    torch.set_num_threads(1)
    outcome, weights = run(Path(folder), lambda event: events.send(event["event"]), **settings)
    events.send((outcome.reason, outcome.best_step, outcome.steps, weights.numpy().tobytes()))
