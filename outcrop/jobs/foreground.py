"""A job that its own command runs: recorded while it runs, and never hindered by that."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from outcrop.core import settings
from outcrop.core.errors import LeaseLost, OutcropError, StoreUnavailable
from outcrop.core.events import Event, Listener
from outcrop.jobs.policies import Reason
from outcrop.jobs.processes import identity
from outcrop.jobs.progress import EventBuffer, json_ready
from outcrop.jobs.queue import JobRequest, Lease, Queue

LEASE_S = 30.0
BEAT_S = 1.0
WAIT_S = 2.0
"""Patience with a locked database: the command shall not wait for its record."""


class Recorder:
    """A listener in front of another one that records what it hears as a job, from a thread of its own.

    Whatever goes wrong with the database becomes one warning to the other listener. stop: called when somebody asks
    the job to stop.
    """

    def __init__(self, request: JobRequest, listener: Listener, stop: Callable[[], None]) -> None:
        self._listener, self._stop = listener, stop
        self._buffer = EventBuffer()
        self._ended = threading.Event()
        self._trouble: OutcropError | None = None
        self._warned = False
        self._lease: Lease | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)
        try:
            queue = Queue.open(settings.database(), wait_s=WAIT_S)
            self._lease = queue.claim(queue.submit(request), identity(os.getpid()), LEASE_S)
            self._thread.start()
        except OutcropError as error:
            self._trouble = error
            self._warn()

    @property
    def job_id(self) -> str:
        """The id of the job; empty where nothing is recorded."""
        return self._lease.job.id if self._lease else ""

    def __call__(self, event: Event) -> None:
        self._listener(event)
        self._warn()
        if self._lease:
            self._buffer.add(json_ready(event))

    def succeed(self, result: Mapping[str, Any]) -> None:
        """The work is done."""
        self._end(lambda lease, events: lease.succeed(json_ready(result), events))

    def halt(self) -> None:
        """The work was ended by somebody."""
        self._end(lambda lease, events: lease.halt(events))

    def fail(self, reason: Reason, error: Mapping[str, Any]) -> None:
        """The work could not be finished."""
        self._end(lambda lease, events: lease.fail(reason, json_ready(error), events))

    def _end(self, record: Callable[[Lease, list[Event]], object]) -> None:
        self._ended.set()
        if self._lease:
            self._thread.join()
            try:
                record(self._lease, self._buffer.take(last=True).events)
            except OutcropError as error:
                self._trouble = error
        self._warn()

    def _keep(self) -> None:
        assert self._lease is not None, "the thread starts with a lease"
        while not self._ended.wait(BEAT_S):
            batch = self._buffer.take()
            try:
                wanted = self._lease.beat(batch.events, **({"progress": batch.progress} if batch.progress else {}))
            except StoreUnavailable as error:
                self._buffer.put_back(batch)
                self._trouble = error
            except LeaseLost as error:
                self._trouble = error
                return
            else:
                if wanted:
                    self._stop()

    def _warn(self) -> None:
        """Tell the first trouble, from the thread that works: listeners need not expect any other."""
        if self._trouble is None or self._warned:
            return
        self._warned = True
        message = f"This run may be missing among the jobs, but goes on. {self._trouble}"
        self._listener({"event": "warning", "code": "not-recorded", "message": message})
