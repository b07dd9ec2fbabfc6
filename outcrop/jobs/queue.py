"""The queue: jobs are submitted, claimed under a lease, told about while they run, and brought to an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from outcrop.core.errors import LeaseLost, UsageError
from outcrop.core.events import Event
from outcrop.core.ids import LENGTH, new_id
from outcrop.jobs.policies import POLICIES, Reason, counted, may_retry
from outcrop.jobs.states import HELD, LIVE, Action, State, moves
from outcrop.store.database import Database
from outcrop.store.jobs import JobRow, JobTable, StoredEvent


@dataclass(frozen=True)
class JobRequest:
    """What to do. verb: its name; arguments: JSON-ready, by name; target: the folder that it makes;
    directory: where relative paths begin; device: "cpu" or "gpu"; foreground: the caller does it, no controller."""

    verb: str
    arguments: Mapping[str, Any]
    target: str
    directory: str
    device: str = "cpu"
    foreground: bool = False


class Queue:
    """The jobs of one database. All changes of state go through the table in jobs/states.py."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._table = JobTable(database, held=HELD, live=LIVE)

    @classmethod
    def open(cls, url: str, *, wait_s: float = 30.0) -> Queue:
        """The queue in the database of a URL, made if it is new; wait_s: patience with locks."""
        return cls(Database.open(url, wait_s=wait_s))

    def submit(self, request: JobRequest) -> str:
        """Add a job; returns its id."""
        job_id = new_id()
        self._table.add(_row(request, job_id))
        return job_id

    def submitter(self, request: JobRequest, job_id: str) -> Callable[[Any], None]:
        """What adds a job of this id in somebody else's transaction, given its connection."""
        return lambda connection: self._table.add_within(connection, _row(request, job_id))

    def get(self, job_id: str) -> JobRow:
        """The job of an id, or of its first characters. Raises UsageError where there is none, or more than one."""
        exact = self._table.get(job_id) if len(job_id) == LENGTH else None
        found = [exact] if exact else self._table.beginning(job_id, limit=3) if job_id else []
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"Several jobs begin with {job_id}.", "Give more of the id.")
        raise UsageError(f"No job {job_id!r}.", "outcrop jobs list shows all of them.")

    def newest(self, limit: int | None = None) -> list[JobRow]:
        """The newest jobs, the last one first."""
        return self._table.newest(limit)

    def unfinished(self) -> list[JobRow]:
        """Jobs that have not ended, oldest first."""
        return self._table.unfinished()

    def waiting(self, device: str) -> list[JobRow]:
        """Jobs that a controller may start on this device, oldest first."""
        return self._table.waiting(moves(Action.CLAIM), device)

    def overdue(self) -> list[JobRow]:
        """Jobs whose owner has not been heard of for longer than its lease."""
        return self._table.overdue()

    def events(self, job_id: str, after: int = 0, limit: int | None = None) -> list[StoredEvent]:
        """What a job told, from the event after number `after` on."""
        return self._table.events(job_id, after, limit)

    def claim(self, job_id: str, owner: Mapping[str, Any], lease_s: float) -> Lease | None:
        """Become the owner of a queued job; None where another was quicker."""
        sent = time.monotonic()
        job = self._table.claim(job_id, moves(Action.CLAIM), owner, lease_s)
        return Lease(self._table, job, lease_s, sent + lease_s) if job else None

    def stop(self, job_id: str) -> str:
        """Ask a job to stop: a queued one has stopped at once, a running one writes a checkpoint first.

        Returns the new state. Raises UsageError for a job that has ended, or is stopping already.
        """
        return self._asked(job_id, Action.STOP, {"reason": Reason.STOPPED})

    def resume(self, job_id: str) -> str:
        """Queue a job again that failed or was stopped; it goes on from its last checkpoint. Returns the new state.

        Raises UsageError for any other job.
        """
        return self._asked(job_id, Action.RESUME, {"reason": None, "error": None, "retries": {}, "foreground": False})

    def give_up(self, job: JobRow) -> str | None:
        """End the attempt of an overdue job, whose owner is gone; returns the new state, None where the owner is back.

        The next attempt follows, unless somebody wants the job stopped, or its command ran it in the foreground.
        """
        again = may_retry(Reason.LOST, job.retries) and not job.foreground
        action = Action.RETRY if again or job.state == State.STOPPING else Action.FAIL
        remedy = f"Go on from its last checkpoint: outcrop jobs resume {job.id}"
        error = None if again else _account(Reason.LOST, job.retries, remedy)
        values = {"reason": Reason.LOST, "retries": counted(Reason.LOST, job.retries), "error": error}
        return self._table.move(job.id, moves(action), values, attempt=job.attempt, overdue=True)

    def _asked(self, job_id: str, action: Action, values: Mapping[str, Any]) -> str:
        job = self.get(job_id)
        state = self._table.move(job.id, moves(action), values)
        if state is None:
            allowed = ", ".join(moves(action))
            now = self.get(job.id).state
            raise UsageError(f"Job {job.id} is {now}: there is nothing to {action}.", f"To {action}: {allowed}.")
        return state


class Lease:
    """The right to work on a job until `deadline` (monotonic seconds of this machine), extended by every beat."""

    def __init__(self, table: JobTable, job: JobRow, lease_s: float, deadline: float) -> None:
        self.job, self.lease_s, self.deadline = job, lease_s, deadline
        self.retries = dict(job.retries)
        self._table = table

    def beat(self, events: Sequence[Event] = (), **values: Any) -> bool:
        """Extend the lease and record events; returns whether somebody wants the job stopped.

        values: columns to set (owner, progress, retries). Raises LeaseLost where another owns the job, or the lease
        ran out; then nothing was recorded.
        """
        sent = time.monotonic()
        state = self._table.beat(self.job.id, self.job.attempt, self.lease_s, values, events)
        if state is None:
            raise self._lost()
        self.deadline = sent + self.lease_s
        return state == State.STOPPING

    def succeed(self, result: Mapping[str, Any] | None, events: Sequence[Event] = (), **values: Any) -> str:
        """End the job with its result. Raises LeaseLost where another attempt has begun."""
        return self._end(Action.SUCCEED, events, {"result": result, "reason": None, **values})

    def halt(self, events: Sequence[Event] = (), **values: Any) -> str:
        """End the attempt because somebody wanted it. Raises LeaseLost where another attempt has begun."""
        return self._end(Action.HALT, events, {"reason": Reason.STOPPED, **values})

    def fail(self, reason: Reason, error: Mapping[str, Any] | None, events: Sequence[Event] = (), **values: Any) -> str:
        """End the attempt for a reason; the job is queued again where jobs/policies.py says so. Returns the new state.

        error: what OutcropError.as_dict says; where it is None, an account of the reason. Raises LeaseLost where
        another attempt has begun.
        """
        if self.job.foreground or not may_retry(reason, self.retries):
            error = error or _account(reason, self.retries, f"outcrop jobs logs {self.job.id} shows what it said.")
            return self._end(Action.FAIL, events, {"reason": reason, "error": error, **values})
        values["retries"] = counted(reason, self.retries)
        return self._end(Action.RETRY, events, {"reason": reason, "error": error, **values})

    def _end(self, action: Action, events: Sequence[Event], values: Mapping[str, Any]) -> str:
        state = self._table.move(self.job.id, moves(action), values, attempt=self.job.attempt, events=events)
        if state is None:
            raise self._lost()
        return state

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"Attempt {self.job.attempt} of job {self.job.id} is no longer the current one.")


def _row(request: JobRequest, job_id: str) -> dict[str, Any]:
    return {**vars(request), "arguments": dict(request.arguments), "id": job_id, "state": State.QUEUED}


def _account(reason: Reason, retries: Mapping[str, int], remedy: str) -> dict[str, Any]:
    """An error for an attempt that could not tell its own."""
    before = retries.get(reason, 0)
    again = f" This happened {before + 1} times without a checkpoint in between." if before else ""
    return {"code": reason.value, "message": f"{POLICIES[reason].meaning}{again}", "remedy": remedy}
