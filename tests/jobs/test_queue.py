"""The queue on both databases: one owner at a time, late writes fenced, what follows from each end of an attempt."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from outcrop.core.errors import LeaseLost, UsageError
from outcrop.jobs.policies import POLICIES, Reason
from outcrop.jobs.queue import JobRequest, Lease, Queue
from outcrop.jobs.states import State

OWNER = {"pid": 1}
LONG_S = 600.0
NOTHING_S = 1e-6
"""A lease that has run out when the next statement runs."""


@pytest.fixture
def queue(database_url: str) -> Iterator[Queue]:
    made = Queue.open(database_url)
    yield made
    made.database.close()


def submit(queue: Queue, **changes: Any) -> str:
    return queue.submit(
        JobRequest(**{"verb": "count", "arguments": {"steps": 3}, "target": "t", "directory": "/"} | changes)
    )


def claimed(queue: Queue, job_id: str, lease_s: float = LONG_S) -> Lease:
    lease = queue.claim(job_id, OWNER, lease_s)
    assert lease is not None
    return lease


def test_a_job_that_many_want_is_claimed_once(queue: Queue, database_url: str) -> None:
    ids = [submit(queue) for _ in range(20)]
    won: list[tuple[str, int]] = []
    start = threading.Barrier(4)

    def race(number: int) -> None:
        mine = Queue.open(database_url)
        start.wait()
        won.extend((job_id, number) for job_id in ids if mine.claim(job_id, {"pid": number}, LONG_S))
        mine.database.close()

    racers = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(job_id for job_id, _ in won) == sorted(ids)
    assert {job_id: (queue.get(job_id).owner or {})["pid"] for job_id in ids} == dict(won)
    assert {queue.get(job_id).attempt for job_id in ids} == {1}


def test_a_late_owner_can_write_nothing(queue: Queue) -> None:
    job_id = submit(queue)
    late = claimed(queue, job_id, NOTHING_S)
    [overdue] = queue.overdue()
    assert queue.give_up(overdue) == State.QUEUED
    current = claimed(queue, job_id)
    current.beat([{"event": "step", "step": 1}])
    before, told = queue.get(job_id), queue.events(job_id)
    for write in (
        lambda: late.beat([{"event": "step", "step": 9}], progress={"step": 9}),
        lambda: late.succeed({"model": "wrong"}, [{"event": "step", "step": 9}]),
        lambda: late.fail(Reason.FAILED, {"message": "wrong"}),
        late.halt,
    ):
        with pytest.raises(LeaseLost):
            write()
    after = queue.get(job_id)
    assert {**vars(after), "now": 0} == {**vars(before), "now": 0}
    assert queue.events(job_id) == told
    assert current.succeed({"model": "right"}) == State.SUCCEEDED
    assert queue.get(job_id).result == {"model": "right"}


def test_a_lease_that_ran_out_is_not_extended_though_nobody_took_over(queue: Queue) -> None:
    lease = claimed(queue, submit(queue), NOTHING_S)
    with pytest.raises(LeaseLost):
        lease.beat()
    assert lease.succeed({}) == State.SUCCEEDED  # but what is done is done


def test_an_owner_that_came_back_in_time_is_not_given_up(queue: Queue) -> None:
    job_id = submit(queue)
    claimed(queue, job_id, NOTHING_S)
    [overdue] = queue.overdue()
    queue.give_up(overdue)
    lease = claimed(queue, job_id)
    assert queue.give_up(overdue) is None
    assert queue.overdue() == []
    assert lease.beat() is False


@pytest.mark.parametrize("reason", [reason for reason in Reason if POLICIES[reason].retries is not None])
def test_attempts_follow_as_often_as_the_policy_says(queue: Queue, reason: Reason) -> None:
    job_id, retries = submit(queue), POLICIES[reason].retries or 0
    for _ in range(retries):
        assert claimed(queue, job_id).fail(reason, {"message": "told"}) == State.QUEUED
    assert claimed(queue, job_id).fail(reason, None) == State.FAILED
    job = queue.get(job_id)
    assert job.attempt == retries + 1
    assert job.reason == reason
    assert job.error is not None
    assert POLICIES[reason].meaning in job.error["message"]
    assert job.ended is not None


def test_a_preempted_job_is_queued_without_end(queue: Queue) -> None:
    job_id = submit(queue)
    for _ in range(15):
        assert claimed(queue, job_id).fail(Reason.PREEMPTED, None) == State.QUEUED


def test_stop_and_resume(queue: Queue) -> None:
    job_id = submit(queue)
    assert queue.stop(job_id) == State.STOPPED
    assert queue.resume(job_id) == State.QUEUED
    lease = claimed(queue, job_id)
    assert lease.beat() is False
    assert queue.stop(job_id) == State.STOPPING
    assert lease.beat() is True
    with pytest.raises(UsageError, match="is stopping"):
        queue.stop(job_id)
    assert lease.fail(Reason.KILLED, None) == State.STOPPED
    assert queue.resume(job_id[:5]) == State.QUEUED
    assert claimed(queue, job_id).succeed({"model": "m"}) == State.SUCCEEDED
    with pytest.raises(UsageError, match=r"is succeeded.*failed, stopped"):
        queue.resume(job_id)


def test_a_job_in_the_foreground_is_its_command_s_alone(queue: Queue) -> None:
    job_id = submit(queue, foreground=True)
    assert queue.waiting("cpu") == []
    claimed(queue, job_id, NOTHING_S)
    [overdue] = queue.overdue()
    assert queue.give_up(overdue) == State.FAILED
    assert "outcrop jobs resume" in (queue.get(job_id).error or {})["remedy"]
    queue.resume(job_id)
    assert [job.id for job in queue.waiting("cpu")] == [job_id]


def test_a_lost_owner_of_a_job_that_shall_stop_has_stopped(queue: Queue) -> None:
    job_id = submit(queue)
    claimed(queue, job_id, NOTHING_S)
    queue.stop(job_id)
    [overdue] = queue.overdue()
    assert queue.give_up(overdue) == State.STOPPED


def test_jobs_wait_in_order_for_their_device(queue: Queue) -> None:
    first, _, last = submit(queue), submit(queue, device="gpu"), submit(queue)
    assert [job.id for job in queue.waiting("cpu")] == [first, last]
    assert len(queue.waiting("gpu")) == 1


def test_events_are_numbered_without_gaps_and_followed_by_a_cursor(queue: Queue) -> None:
    job_id, other = submit(queue), submit(queue)
    lease = claimed(queue, job_id)
    claimed(queue, other).beat([{"event": "stage", "title": "another"}])
    for step in range(1, 6):
        lease.beat([{"event": "step", "step": step}, {"event": "checkpoint", "step": step}])
    seen, cursor = [], 0
    while page := queue.events(job_id, cursor, limit=4):
        seen += page
        cursor = page[-1].number
    assert [event.number for event in seen] == list(range(1, 12))
    assert [event.event.get("step") for event in seen[1::2]] == [1, 2, 3, 4, 5]
    assert all(a.at <= b.at for a, b in pairwise(seen))


def test_what_ids_name(queue: Queue) -> None:
    with pytest.raises(UsageError, match="No job"):
        queue.get("")
    with pytest.raises(UsageError, match="No job 'x%'"):
        queue.get("x%")
    ids = [submit(queue) for _ in range(40)]  # more than letters and digits: two begin alike
    doubled = next(first for first in ids if sum(each[0] == first[0] for each in ids) > 1)
    with pytest.raises(UsageError, match="Several jobs"):
        queue.get(doubled[0])
    assert queue.get(doubled).id == doubled
    assert [job.id for job in queue.newest(1)] != []


def test_the_deadline_is_before_the_end_of_the_lease(queue: Queue) -> None:
    lease = claimed(queue, submit(queue))
    assert lease.deadline - time.monotonic() <= LONG_S
    before = lease.deadline
    lease.beat()
    assert before < lease.deadline
