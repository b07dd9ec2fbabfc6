"""Rows of jobs and their events. It knows no state by name: which may follow which is handed in by jobs/states.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from sqlalchemy import Connection, case, func, insert, null, select, update

from outcrop.core.events import Event
from outcrop.store.database import Database, DatabaseClock
from outcrop.store.schema import JOB_EVENTS, JOBS

Moves = Mapping[str, str]
"""State → the state after it; a row in any other state stays as it is."""


@dataclass(frozen=True)
class JobRow:
    """A job as it was at `now`, by the database's clock. The other fields are the columns of store/schema.py."""

    id: str
    verb: str
    arguments: dict[str, Any]
    target: str
    directory: str
    device: str
    foreground: bool
    state: str
    attempt: int
    retries: dict[str, int]
    owner: dict[str, Any] | None
    lease_until: float | None
    created: float
    started: float | None
    ended: float | None
    reason: str | None
    error: dict[str, Any] | None
    result: dict[str, Any] | None
    progress: dict[str, Any] | None
    event_count: int
    now: float


class StoredEvent(NamedTuple):
    """An event of a job. number: the cursor to go on from; at: seconds since 1970; attempt: which one told it."""

    number: int
    at: float
    attempt: int
    event: Event


_COLUMNS = [*(JOBS.c[field.name] for field in fields(JobRow) if field.name != "now"), DatabaseClock().label("now")]


class JobTable:
    """Every statement on jobs. A write with `attempt` is fenced: it does nothing once another attempt has begun.

    held: the states in which a process owns a job; live: those and the ones before, in which it has not ended.
    """

    def __init__(self, database: Database, *, held: Collection[str], live: Collection[str]) -> None:
        self.database = database
        self._held, self._live = list(held), list(live)

    def add(self, values: Mapping[str, Any]) -> None:
        """Insert a job; what is not given is empty."""
        with self.database.transaction() as connection:
            self.add_within(connection, values)

    def add_within(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """The same in a transaction that makes other rows, too."""
        empty = {"attempt": 0, "retries": {}, "event_count": 0}
        connection.execute(insert(JOBS).values(**empty | dict(values), created=DatabaseClock()))

    def get(self, job_id: str) -> JobRow | None:
        """The job of this id."""
        found = self.find(JOBS.c.id == job_id)
        return found[0] if found else None

    def beginning(self, prefix: str, limit: int) -> list[JobRow]:
        """Jobs whose id begins with this."""
        return self.find(JOBS.c.id.startswith(prefix, autoescape=True), limit=limit)

    def newest(self, limit: int | None = None) -> list[JobRow]:
        """The newest jobs, the last one first."""
        return self.find(limit=limit, newest_first=True)

    def unfinished(self) -> list[JobRow]:
        """Jobs that have not ended."""
        return self.find(JOBS.c.state.in_(self._live))

    def waiting(self, states: Iterable[str], device: str) -> list[JobRow]:
        """Jobs in these states, of this device, that a controller may start."""
        return self.find(JOBS.c.state.in_(list(states)), JOBS.c.device == device, JOBS.c.foreground.is_(False))

    def overdue(self) -> list[JobRow]:
        """Jobs whose lease has run out."""
        return self.find(JOBS.c.state.in_(self._held), JOBS.c.lease_until < DatabaseClock())

    def find(self, *conditions: Any, limit: int | None = None, newest_first: bool = False) -> list[JobRow]:
        """Jobs that meet all conditions."""
        order = JOBS.c.created.desc() if newest_first else JOBS.c.created
        query = select(*_COLUMNS).where(*conditions).order_by(order, JOBS.c.id).limit(limit)
        with self.database.reading() as connection:
            return [JobRow(**found._mapping) for found in connection.execute(query)]

    def claim(self, job_id: str, moves: Moves, owner: Mapping[str, Any], lease_s: float) -> JobRow | None:
        """Make `owner` the owner of the job's next attempt, unless another was quicker.

        Returns the job as it is now.
        """
        locked = select(*_COLUMNS).where(JOBS.c.id == job_id, JOBS.c.state.in_(moves))
        with self.database.transaction() as connection:
            found = connection.execute(locked.with_for_update(skip_locked=True)).first()
            if found is None:
                return None
            before = JobRow(**found._mapping)
            claimed = {
                "state": moves[before.state], "attempt": before.attempt + 1, "owner": dict(owner),
                "lease_until": DatabaseClock() + lease_s, "started": func.coalesce(JOBS.c.started, DatabaseClock()),
                "ended": null(), "reason": null(), "error": null(), "result": null(), "progress": null(),
            }  # fmt: skip
            connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(claimed))
            event = {"event": "job", "state": moves[before.state], "attempt": before.attempt + 1, "reason": None}
            _append(connection, job_id, before.attempt + 1, [event])
            return JobRow(**connection.execute(select(*_COLUMNS).where(JOBS.c.id == job_id)).one()._mapping)

    def move(
        self,
        job_id: str,
        moves: Moves,
        values: Mapping[str, Any],
        *,
        attempt: int | None = None,
        overdue: bool = False,
        events: Sequence[Event] = (),
    ) -> str | None:
        """Put the job into the state after its own. Returns the new state, or None where nothing was done.

        Where the new state is not held, the owner goes; where it is not live, the job has ended now.
        attempt: only while this one is current; overdue: only if its lease has run out; events: to record before.
        """
        conditions = [JOBS.c.id == job_id, JOBS.c.state.in_(moves)]
        conditions += [JOBS.c.attempt == attempt] if attempt is not None else []
        conditions += [JOBS.c.lease_until < DatabaseClock()] if overdue else []
        is_held = JOBS.c.state.in_([before for before, after in moves.items() if after in self._held])
        is_live = JOBS.c.state.in_([before for before, after in moves.items() if after in self._live])
        change = {
            "owner": case((is_held, JOBS.c.owner), else_=null()),
            "lease_until": case((is_held, JOBS.c.lease_until), else_=null()),
            "ended": case((is_live, null()), else_=DatabaseClock()),
            **values,
            "state": case(dict(moves), value=JOBS.c.state),
        }
        statement = update(JOBS).where(*conditions).values(change).returning(JOBS.c.state, JOBS.c.attempt)
        with self.database.transaction() as connection:
            moved = connection.execute(statement).first()
            if moved is None:
                return None
            told: Event = {"event": "job", "state": moved.state, "attempt": moved.attempt}
            _append(connection, job_id, moved.attempt, [*events, told | {"reason": values.get("reason")}])
        return str(moved.state)

    def beat(
        self,
        job_id: str,
        attempt: int,
        lease_s: float,
        values: Mapping[str, Any],
        events: Sequence[Event],
    ) -> str | None:
        """Extend the lease of a running attempt and record what it told; returns the job's state.

        None: the attempt is not current, not held, or its lease has run out; then nothing is recorded.
        """
        current = (JOBS.c.id == job_id, JOBS.c.attempt == attempt, JOBS.c.state.in_(self._held))
        alive = JOBS.c.lease_until >= DatabaseClock()
        statement = update(JOBS).where(*current, alive).returning(JOBS.c.state)
        with self.database.transaction() as connection:
            held = connection.execute(statement.values({**values, "lease_until": DatabaseClock() + lease_s})).first()
            if held is None:
                return None
            _append(connection, job_id, attempt, events)
        return str(held.state)

    def events(self, job_id: str, after: int = 0, limit: int | None = None) -> list[StoredEvent]:
        """The job's events with a number above `after`, in order."""
        columns = (JOB_EVENTS.c.number, JOB_EVENTS.c.at, JOB_EVENTS.c.attempt, JOB_EVENTS.c.event)
        query = select(*columns).where(JOB_EVENTS.c.job_id == job_id, JOB_EVENTS.c.number > after)
        with self.database.reading() as connection:
            return [StoredEvent(*row) for row in connection.execute(query.order_by(JOB_EVENTS.c.number).limit(limit))]


def _append(connection: Connection, job_id: str, attempt: int, events: Sequence[Event]) -> None:
    """Number and insert events. The update locks the job's row, so numbers follow the order of commits."""
    if not events:
        return
    counted = update(JOBS).where(JOBS.c.id == job_id).values(event_count=JOBS.c.event_count + len(events))
    last = connection.execute(counted.returning(JOBS.c.event_count)).scalar_one()
    first = last - len(events) + 1
    connection.execute(
        insert(JOB_EVENTS).values(at=DatabaseClock()),
        [
            {"job_id": job_id, "number": number, "attempt": attempt, "event": event}
            for number, event in enumerate(events, first)
        ],
    )
