"""The runner: a process of its own that owns one attempt of a job, its lease and its heartbeat, and the trainer."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from outcrop.core.errors import LeaseLost, StoreUnavailable
from outcrop.core.spec import Spec, parameter
from outcrop.jobs.policies import Reason, forgiven
from outcrop.jobs.processes import identity, out_of_memory_kills
from outcrop.jobs.progress import Batch, EventBuffer
from outcrop.jobs.queue import Lease, Queue
from outcrop.jobs.runners.child import Child

TRAINER = "outcrop.workflows.job"
"""The module that does the work, run as a process: a floor above, so it is known by name only."""
POLL_S = 0.2
SENT_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that a process does not bring upon itself; after any other one it would only fail again."""
RECORD_S = 1.0
"""How long events wait to be recorded."""


class RunnerSpec(Spec):
    """How attempts are run."""

    lease_s: float = parameter(30.0, "without a heartbeat for so long an attempt counts as lost", unit="seconds", gt=0)
    grace_s: float = parameter(60.0, "time to write a checkpoint after a request to stop", unit="seconds", ge=0)
    trainer: str = parameter(TRAINER, "module that does the work")


class RunnerTask(Spec):
    """What a runner is started for. slot: the descriptor of the slot it holds; gpu: the device that belongs to it."""

    database: str
    job_id: str
    slot: int | None = None
    gpu: int | None = None
    spec: RunnerSpec = RunnerSpec()


class Attempt:
    """One attempt: starts the trainer, keeps the lease, records what happens, and brings it to an end."""

    def __init__(self, lease: Lease, task: RunnerTask) -> None:
        self.lease, self.spec = lease, task.spec
        self._slots = () if task.slot is None else (task.slot,)
        self._environment = {} if task.gpu is None else {"CUDA_VISIBLE_DEVICES": str(task.gpu)}
        self._buffer = EventBuffer()
        self._outcome: dict[str, Any] | None = None
        self._renewed = self._recorded = time.monotonic()
        self._wanted = ""
        self._kill_at: float | None = None
        self.preempted = False

    def run(self) -> str:
        """Work until the attempt has ended; returns the state of the job. Raises LeaseLost where it is another's."""
        job = self.lease.job
        kills_before = out_of_memory_kills()
        with Child(self.spec.trainer, Path(job.directory), self._environment, self._slots) as child:
            self.lease.beat(owner={**identity(os.getpid()), "child": identity(child.pid)})
            child.tell(
                {
                    "job_id": job.id, "verb": job.verb, "arguments": job.arguments, "retries": job.retries,
                    "deadline": self.lease.deadline, "runner": os.getpid(),
                }
            )  # fmt: skip
            while (status := child.exit_status) is None:
                self._hear(child.listen(POLL_S))
                self._keep_up(child)
            self._hear(child.rest())
        # Only now, with the trainer and its group gone, may anybody start the next attempt.
        return self._conclude(status, out_of_memory_kills() > kills_before)

    def _hear(self, messages: Any) -> None:
        for message in messages:
            if "outcome" in message:
                self._outcome = message
            else:
                self._buffer.add(message)

    def _keep_up(self, child: Child) -> None:
        now = time.monotonic()
        if now - self._recorded >= min(RECORD_S, self.spec.lease_s / 3):
            self._renew(child)
        if self.preempted and not self._wanted:
            self._ask_to_stop(child, Reason.PREEMPTED)
        if self._kill_at is not None and now >= self._kill_at:
            child.kill()

    def _renew(self, child: Child) -> None:
        """Extend the lease and record events. Where the database does not answer, the trainer lives until the lease
        ends; it watches that itself."""
        self._recorded = time.monotonic()
        batch = self._buffer.take()
        if not batch.events and self._recorded - self._renewed < self.spec.lease_s / 3:
            return
        try:
            wanted = self.lease.beat(batch.events, **self._columns(batch))
        except StoreUnavailable as error:
            self._buffer.put_back(batch)
            sys.stderr.write(f"runner of {self.lease.job.id}: {error}\n")
            return
        self._renewed = time.monotonic()
        child.tell({"deadline": self.lease.deadline})
        if wanted and not self._wanted:
            self._ask_to_stop(child, Reason.STOPPED)

    def _columns(self, batch: Batch) -> dict[str, Any]:
        columns: dict[str, Any] = {"progress": batch.progress} if batch.progress else {}
        if batch.checkpoint and forgiven(self.lease.retries) != self.lease.retries:
            self.lease.retries = forgiven(self.lease.retries)
            columns["retries"] = self.lease.retries
        return columns

    def _ask_to_stop(self, child: Child, reason: Reason) -> None:
        self._wanted, self._kill_at = reason, time.monotonic() + self.spec.grace_s
        child.tell({"stop": True})

    def _conclude(self, status: int, out_of_memory: bool) -> str:
        """Record how it ended; tries again for a while where the database does not answer."""
        batch = self._buffer.take(last=True)
        columns = self._columns(batch)
        give_up_at = time.monotonic() + 2 * self.spec.lease_s
        while True:
            try:
                return self._end(status, out_of_memory, batch.events, columns)
            except StoreUnavailable:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(POLL_S)

    def _end(self, status: int, out_of_memory: bool, events: Sequence[Any], columns: dict[str, Any]) -> str:
        outcome = self._outcome or {}
        kind = outcome.get("outcome")
        if kind == "succeeded":
            return self.lease.succeed(outcome["result"], events, **columns)
        if kind == "failed":
            return self.lease.fail(Reason(outcome["reason"]), outcome["error"], events, **columns)
        if self._wanted == Reason.STOPPED:
            return self.lease.halt(events, **columns)
        if self._wanted == Reason.PREEMPTED:
            return self.lease.fail(Reason.PREEMPTED, None, events, **columns)
        if out_of_memory and status == -signal.SIGKILL:
            return self.lease.fail(Reason.OUT_OF_MEMORY, None, events, **columns)
        reason = Reason.KILLED if -status in SENT_FROM_OUTSIDE else Reason.FAILED
        return self.lease.fail(reason, _ended_without_a_word(reason, status), events, **columns)


def _ended_without_a_word(reason: Reason, status: int) -> dict[str, Any]:
    how = f"by signal {signal.Signals(-status).name}" if status < 0 else f"with exit code {status}"
    return {
        "code": reason.value, "message": f"The process that trains ended {how}, without a word.",
        "remedy": "The last lines of outcrop jobs logs may say why; outcrop jobs resume tries again.",
    }  # fmt: skip


def run(task: RunnerTask) -> str | None:
    """Claim the job of a task and run the attempt; returns the state it left, None where another was quicker."""
    queue = Queue.open(task.database, wait_s=task.spec.lease_s / 3)
    lease = queue.claim(task.job_id, identity(os.getpid()), task.spec.lease_s)
    if lease is None:
        return None
    attempt = Attempt(lease, task)

    def preempt(number: int, frame: object) -> None:
        attempt.preempted = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, preempt)
    return attempt.run()


def main(argument: str) -> int:
    """Run the task given as JSON; returns the exit code."""
    try:
        run(RunnerTask.model_validate_json(argument))
    except (LeaseLost, StoreUnavailable) as error:
        sys.stderr.write(f"runner: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
