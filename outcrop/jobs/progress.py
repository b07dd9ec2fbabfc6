"""Events of a running attempt on their way to the database: steps are thinned out, the last state is kept apart."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from outcrop.core.events import Event

STEP_INTERVAL_S = 1.0
"""Of the steps within this time one is kept: the journal in the job's folder has them all."""
OUTPUT_LINES = 10_000
"""Lines of output kept for each attempt; the number of the others is told."""

STATE_FIELDS = {
    "stage": ("title",),
    "progress": ("title", "done", "total", "eta_s"),
    "step": ("step", "steps", "epoch", "loss", "eta_s"),
    "evaluation": ("validation_loss", "metric", "metric_value"),
    "estimate": ("minutes",),
}
"""Which fields of which kinds of event say how far a job is."""


class Batch(NamedTuple):
    """What is to be recorded next. progress: how far the attempt is; checkpoint: whether one was written."""

    events: list[Event]
    progress: dict[str, Any]
    checkpoint: bool


class EventBuffer:
    """Takes events from one thread and gives batches of them to another."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._progress: dict[str, Any] = {}
        self._checkpoint = False
        self._last_step = -STEP_INTERVAL_S
        self._held: Event | None = None
        self._lines = 0

    def add(self, event: Event) -> None:
        """Take an event; a step only if the last one kept was a while ago, or as the newest held back."""
        with self._lock:
            self._note(event)
            if event["event"] == "output" and not self._keeps_output():
                return
            if event["event"] == "step" and self._clock() - self._last_step < STEP_INTERVAL_S:
                self._held = event
                return
            if event["event"] == "step":
                self._last_step, self._held = self._clock(), None
            elif self._held is not None:  # what comes after a step is recorded after it
                self._events.append(self._held)
                self._held = None
            self._events.append(event)

    def take(self, *, last: bool = False) -> Batch:
        """Everything since the batch before. last: with the step held back, and a word on lines left out."""
        with self._lock:
            if last and self._held is not None:
                self._events.append(self._held)
                self._held = None
            if last and self._lines > OUTPUT_LINES:
                line = f"… and {self._lines - OUTPUT_LINES:,} more lines, which were not kept"
                self._events.append({"event": "output", "line": line})
            batch = Batch(self._events, dict(self._progress), self._checkpoint)
            self._events, self._checkpoint = [], False
        return batch

    def put_back(self, batch: Batch) -> None:
        """Take back a batch that could not be recorded; what came meanwhile stays after it."""
        with self._lock:
            self._events = [*batch.events, *self._events]
            self._checkpoint |= batch.checkpoint

    def _keeps_output(self) -> bool:
        self._lines += 1
        return self._lines <= OUTPUT_LINES

    def _note(self, event: Event) -> None:
        kind = event["event"]
        if kind == "checkpoint":
            self._checkpoint = True
            self._progress["checkpoint"] = event["step"]
        if kind == "stage":
            self._progress = {name: self._progress[name] for name in ("checkpoint",) if name in self._progress}
        for name in STATE_FIELDS.get(kind, ()):
            self._progress[name] = event.get(name)


def json_ready(value: Any) -> Any:
    """The same as JSON holds it everywhere: None for NaN and infinities, lists for tuples, text for the rest."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): json_ready(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(part) for part in value]
    return value if isinstance(value, str | int | bool | None) else str(value)
