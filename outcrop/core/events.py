"""Progress of long work as a stream of plain events: the journal stores them, the terminal draws them.

An event is a JSON-ready dict with "event" (its kind) and that kind's fields:

    stage       title                                       a new part of the work begins
    progress    title, done, total, eta_s, tokens_per_s, cache_hits
                                                            of the stage's rows; seconds left, tokens generated in a
                                                            second and answers found in the cache, where that is known
    resolved    parameters: [{name, value, source}]         every value as it will be used, and where it came from
    estimate    minutes, peak_memory_gb, steps, step_seconds   from timing real steps
    step        step, steps, epoch, loss, learning_rate, gradient_norm, tokens_per_s, eta_s
    evaluation  step, epoch, validation_loss, metric, metric_value, best
    checkpoint  step
    resumed     step                                        of the checkpoint from which the run goes on
    warning     code, message
    stopped     step, best_step, reason, message            why training ended
    finished    steps, minutes, peak_memory_gb, estimate_error_percent
    output      line                                        that a job's process printed
    job         state, attempt, reason                      a job changed its state
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]

Listener = Callable[[Event], None]
"""Whoever wants to know: a terminal, a journal, a test."""


class StopRequested(Exception):
    """Raised by a listener to end the work: training writes a checkpoint first, if it is told at a step."""


def ignore(event: Event) -> None:
    """The listener of callers that do not want progress."""
