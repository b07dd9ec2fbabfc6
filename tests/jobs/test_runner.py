"""Attempts in real processes: their ends, stopping, and what becomes of a job whose processes are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from outcrop.jobs import slots
from outcrop.jobs.policies import Reason
from outcrop.jobs.processes import identity
from outcrop.jobs.runners.local import RunnerTask
from outcrop.jobs.states import State
from tests.jobs.site import Site, is_alive
from tests.support.counting import weights_of
from tests.support.queues import PostgresServer

MANY = 400
"""Steps of a job that would take longer than the test needs."""


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes sites that are closed at the end; without a URL on SQLite."""
    made: list[Site] = []

    def make(url: str = "", **options: Any) -> Site:
        made.append(Site(url or f"sqlite:///{tmp_path / 'jobs.db'}", tmp_path, **options))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def test_a_job_is_done_and_all_of_it_is_told(site: Site) -> None:
    job = site.run(steps=4)
    assert (job.state, job.attempt, job.reason, job.error) == (State.SUCCEEDED, 1, None, None)
    assert job.result == {"model": "out", "steps": 4, "micro_batch_tokens": 4096, "weights": weights_of(4)}
    assert site.steps() == [1, 2, 3, 4]
    told = [event.event for event in site.queue.events(job.id)]
    assert [event["step"] for event in told if event["event"] == "checkpoint"] == [1, 2, 3, 4]
    assert {"event": "output", "line": "counting from 0"} in told
    assert told[-1]["state"] == State.SUCCEEDED
    free = slots.take("cpu", 1)
    assert free is not None
    free.release()


@pytest.mark.parametrize("fail", ["diverged", "user-error", "bug"])
def test_an_error_that_would_come_again_ends_the_job(site: Site, fail: str) -> None:
    job = site.run(steps=4, fail=fail)
    assert (job.state, job.attempt) == (State.FAILED, 1)
    assert job.error is not None
    assert job.error["code"] == {"user-error": "usage"}.get(fail, fail)
    lines = [event.event.get("line", "") for event in site.queue.events(job.id)]
    assert ("Traceback (most recent call last):" in lines) == (fail == "bug")
    site.queue.resume(job.id)
    site.finish()
    assert site.queue.get(job.id).attempt == 2
    assert site.steps() == [1, 2]  # the second attempt failed where the first one did


def test_out_of_memory_is_tried_again_once_with_smaller_micro_batches(site: Site) -> None:
    job = site.run(steps=4, fail="out-of-memory", fail_above=1024)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2)
    assert (job.result or {})["micro_batch_tokens"] == 1024
    assert site.steps() == [1, 2, 3, 4]
    other = site.run(to="other", steps=4, fail="out-of-memory", fail_above=1000)
    assert (other.state, other.attempt, other.reason) == (State.FAILED, 2, Reason.OUT_OF_MEMORY)
    assert "--micro-batch-tokens" in (other.error or {})["remedy"]


def test_stopping_writes_a_checkpoint_and_resuming_goes_on_from_it(site: Site) -> None:
    job_id = site.submit(steps=MANY, seconds=0.05)
    site.until(site.trains(job_id))
    site.queue.stop(job_id)
    site.finish()
    job, done = site.queue.get(job_id), len(site.steps())
    assert (job.state, job.reason) == (State.STOPPED, Reason.STOPPED)
    assert 1 <= done < MANY
    assert not (site.folder / "out").exists()
    site.queue.resume(job_id)
    site.until(site.trains(job_id, done + 1))
    site.queue.stop(job_id)
    site.finish()
    assert site.steps() == list(range(1, len(site.steps()) + 1))


def test_a_trainer_that_does_not_stop_in_time_is_ended(make_site: Callable[..., Site]) -> None:
    site = make_site(grace_s=0)
    job_id = site.submit(steps=2, seconds=1000)
    site.until(lambda: site.queue.get(job_id).progress)
    _, trainer = site.pids(job_id)
    site.queue.stop(job_id)
    site.finish()
    assert site.queue.get(job_id).state == State.STOPPED
    assert not is_alive(trainer)


def test_a_preempted_runner_gives_the_job_back_with_a_checkpoint(site: Site) -> None:
    job_id = site.submit(steps=20, seconds=0.05)
    site.until(site.trains(job_id))
    runner, _ = site.pids(job_id)
    os.kill(runner, signal.SIGTERM)
    site.finish()
    job = site.queue.get(job_id)
    assert (job.state, job.attempt, job.retries) == (State.SUCCEEDED, 2, {"preempted": 1})
    assert site.steps() == list(range(1, 21))


def test_a_killed_trainer_is_followed_by_another_attempt(site: Site) -> None:
    job_id = site.submit(steps=20, seconds=0.05)
    site.until(site.trains(job_id))
    os.kill(site.pids(job_id)[1], signal.SIGKILL)
    site.finish()
    job = site.queue.get(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2)
    assert job.retries == {}  # forgotten with the first checkpoint of the second attempt
    assert sorted(set(site.steps())) == list(range(1, 21))


def test_a_killed_runner_takes_its_trainer_along_and_the_slot_is_free_only_then(make_site: Callable[..., Site]) -> None:
    site = make_site(lease_s=3)
    job_id = site.submit(steps=30, seconds=0.05)
    site.until(site.trains(job_id))
    runner, trainer = site.pids(job_id)
    assert slots.take("cpu", 1) is None
    os.kill(runner, signal.SIGKILL)
    site.until(lambda: not is_alive(trainer), turning=False)
    site.finish()
    job = site.queue.get(job_id)
    assert job.state == State.SUCCEEDED
    assert job.attempt >= 2
    assert sorted(set(site.steps())) == list(range(1, 31))


def test_a_stopped_runner_loses_its_trainer_with_its_lease_and_its_late_writes_are_fenced(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(lease_s=6)
    job_id = site.submit(steps=MANY, seconds=0.2)
    task = RunnerTask(database=site.spec.database, job_id=job_id, spec=site.spec.runner)
    # As on another machine: started by nobody here, so nobody here can end it.
    words = [sys.executable, "-m", "outcrop.jobs.runners.local", task.model_dump_json()]
    runner = subprocess.Popen(words, start_new_session=True, stderr=subprocess.PIPE, text=True)
    site.until(site.trains(job_id), turning=False)
    _, trainer = site.pids(job_id)
    os.kill(runner.pid, signal.SIGSTOP)
    site.until(site.queue.overdue, turning=False)
    site.until(lambda: not is_alive(trainer), turning=False)
    done = len(site.steps())
    [overdue] = site.queue.overdue()
    assert site.queue.give_up(overdue) == State.QUEUED
    current = site.queue.claim(job_id, identity(os.getpid()), 600)
    assert current is not None
    before = site.queue.get(job_id)
    os.kill(runner.pid, signal.SIGCONT)
    _, said = runner.communicate(timeout=60)
    assert runner.returncode == 1
    assert "no longer the current one" in said
    after = site.queue.get(job_id)
    assert {**vars(after), "now": 0} == {**vars(before), "now": 0}
    assert len(site.steps()) == done
    assert current.beat() is False


def test_the_controller_ends_a_stopped_runner_of_its_own_machine(make_site: Callable[..., Site]) -> None:
    site = make_site(lease_s=4)
    job_id = site.submit(steps=30, seconds=0.05)
    site.until(site.trains(job_id))
    runner, trainer = site.pids(job_id)
    os.kill(runner, signal.SIGSTOP)
    site.finish()
    assert not is_alive(runner)
    assert not is_alive(trainer)
    assert site.queue.get(job_id).state == State.SUCCEEDED


def test_two_controllers_start_one_attempt(database_url: str, make_site: Callable[..., Site]) -> None:
    first, second = (make_site(database_url, slots=2) for _ in range(2))
    job_id = first.submit(steps=5)
    first.controller.turn()
    second.controller.turn()
    first.finish()
    second.finish()
    job = first.queue.get(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 1)
    assert first.steps() == [1, 2, 3, 4, 5]


def test_an_attempt_that_was_done_but_could_not_say_so_is_not_done_again(site: Site) -> None:
    job_id = site.submit(steps=3)
    site.finish()
    with site.queue.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE jobs SET state = 'queued', result = NULL")
    site.finish()
    job = site.queue.get(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2)
    assert (job.result or {})["steps"] == 3
    assert site.steps() == [1, 2, 3]


def test_a_job_outlives_the_crash_of_its_database(postgres: PostgresServer, make_site: Callable[..., Site]) -> None:
    site = make_site(postgres.url("crash"))
    job_id = site.submit(steps=40, seconds=0.1)
    site.until(site.trains(job_id))
    postgres.kill()
    postgres.start()
    site.finish()
    assert site.queue.get(job_id).state == State.SUCCEEDED
    assert sorted(set(site.steps())) == list(range(1, 41))
