"""Why an attempt ended without success, and what follows from it: another attempt, or the end of the job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from outcrop.core.errors import Diverged, UserError


class Reason(StrEnum):
    """Why an attempt ended."""

    OUT_OF_MEMORY = "out-of-memory"
    DIVERGED = "diverged"
    USER_ERROR = "user-error"
    FAILED = "failed"
    KILLED = "killed"
    LOST = "lost"
    PREEMPTED = "preempted"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Policy:
    """retries: further attempts for this reason, None without end; per_checkpoint: a checkpoint makes it forgotten;
    meaning: what happened, a sentence."""

    retries: int | None
    meaning: str
    per_checkpoint: bool = False


POLICIES: Mapping[Reason, Policy] = MappingProxyType(
    {
        # Once: the next attempt computes fewer tokens at a time; if that does not help, the model is too large.
        Reason.OUT_OF_MEMORY: Policy(1, "The memory of this machine did not suffice."),
        Reason.DIVERGED: Policy(0, "The loss became NaN or exploded; it would again."),
        Reason.USER_ERROR: Policy(0, "The request or its input is wrong."),
        Reason.FAILED: Policy(0, "The work could not be finished."),
        Reason.KILLED: Policy(10, "The process that trains was ended from outside.", per_checkpoint=True),
        Reason.LOST: Policy(10, "The process that owned the job is gone.", per_checkpoint=True),
        Reason.PREEMPTED: Policy(None, "The machine was needed for something else."),
        Reason.STOPPED: Policy(0, "Somebody stopped it."),
    }
)


def may_retry(reason: Reason, retries: Mapping[str, int]) -> bool:
    """Whether another attempt follows. retries: reason → how often it was met before."""
    limit = POLICIES[reason].retries
    return limit is None or retries.get(reason, 0) < limit


def counted(reason: Reason, retries: Mapping[str, int]) -> dict[str, int]:
    """The same with one more of this reason."""
    return {**retries, reason.value: retries.get(reason, 0) + 1}


def forgiven(retries: Mapping[str, int]) -> dict[str, int]:
    """What still counts after a checkpoint was written."""
    return {reason: count for reason, count in retries.items() if not POLICIES[Reason(reason)].per_checkpoint}


def reason_of(error: BaseException) -> Reason:
    """The reason behind an exception of the work. Knows torch's by their words, because it never imports torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Reason.OUT_OF_MEMORY
    if isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY_WORDS):
        return Reason.OUT_OF_MEMORY
    if isinstance(error, Diverged):
        return Reason.DIVERGED
    return Reason.USER_ERROR if isinstance(error, UserError) else Reason.FAILED


OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "Cannot allocate memory")
