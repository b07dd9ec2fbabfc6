"""The states of a job, and the one table of what may follow what.

queued ──claim──▶ running ──succeed──▶ succeeded
  ▲ ▲               │  │ └──fail────▶ failed ──resume──▶ queued
  │ └────retry──────┘  └──stop──▶ stopping ──halt, retry──▶ stopped ──resume──▶ queued
  └──────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


class Action(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"
    STOP = "stop"
    SUCCEED = "succeed"
    FAIL = "fail"
    HALT = "halt"
    RETRY = "retry"
    RESUME = "resume"


TRANSITIONS: Mapping[Action, Mapping[State, State]] = MappingProxyType(
    {
        Action.CLAIM: {State.QUEUED: State.RUNNING},
        Action.STOP: {State.QUEUED: State.STOPPED, State.RUNNING: State.STOPPING},
        # Work that was done before the request to stop arrived is done.
        Action.SUCCEED: {State.RUNNING: State.SUCCEEDED, State.STOPPING: State.SUCCEEDED},
        Action.FAIL: {State.RUNNING: State.FAILED, State.STOPPING: State.FAILED},
        Action.HALT: {State.RUNNING: State.STOPPED, State.STOPPING: State.STOPPED},
        Action.RETRY: {State.RUNNING: State.QUEUED, State.STOPPING: State.STOPPED},
        Action.RESUME: {State.FAILED: State.QUEUED, State.STOPPED: State.QUEUED},
    }
)

HELD = (State.RUNNING, State.STOPPING)
"""A process owns the job."""

LIVE = (State.QUEUED, *HELD)
"""Something will still happen without anybody asking for it."""


def moves(action: Action) -> dict[str, str]:
    """The transitions of an action as plain words: state → the state after it."""
    return {before.value: after.value for before, after in TRANSITIONS[action].items()}
