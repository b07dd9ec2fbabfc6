"""`outcrop jobs`, --detach, and runs in the foreground that are recorded."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outcrop.core import settings
from outcrop.core.errors import Diverged
from outcrop.jobs import controller
from outcrop.jobs.controller import ControllerSpec
from outcrop.jobs.policies import Reason
from outcrop.jobs.queue import JobRequest, Queue
from outcrop.workflows import recorded
from outcrop.workflows.run_folder import JOB

TUNE = ("tune", "--base", "bundled:pebble-s", "--data", "a.jsonl", "--to", "out")


@pytest.fixture
def queue() -> Any:
    made = Queue.open(settings.database())
    yield made
    made.database.close()


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[ControllerSpec]:
    """The controllers that would have been started."""
    specs: list[ControllerSpec] = []
    monkeypatch.setattr(controller, "start", lambda spec: specs.append(spec) or True)
    return specs


@pytest.fixture
def tune(command, answer) -> Callable[[Callable[..., Any]], Any]:
    """Run `outcrop tune` with this behind it; what records and queues stays the real thing."""

    def run(work: Callable[..., Any], *more: str) -> Any:
        command.provide("tune", work)
        table = command.module
        table.record, table.submit = recorded.record, recorded.submit
        return command(*TUNE, *more)

    return run


def _job(queue: Queue) -> Any:
    [job] = queue.newest()
    return job


def test_detach_queues_the_verb_with_all_arguments(tune, queue, asked_for, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = tune(lambda **_: pytest.fail("it is not run here"), "--epochs", "3", "--detach", "--output", "json")
    assert done.exit_code == 0, done.output
    told, job = json.loads(done.stdout), _job(queue)
    assert told["job"] == job.id
    assert told["state"] == job.state == "queued"
    assert (job.verb, job.target, job.directory) == ("tune", "out", str(tmp_path))
    assert job.arguments["settings"] == {"epochs": 3}
    assert job.arguments["data"] == ["a.jsonl"]
    assert [spec.idle_s for spec in asked_for] == [60]


@pytest.mark.parametrize("wrong", ["target", "base"])
def test_detach_refuses_what_can_be_seen_at_once(command, tune, queue, asked_for, tmp_path, wrong: str) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_text("x")
    more = ("--to", str(taken)) if wrong == "target" else ("--base", "bundled:nothing")
    done = tune(lambda **_: None, *more, "--detach")
    assert done.exit_code == 2
    assert queue.newest() == []
    assert asked_for == []


def test_without_a_database_nothing_is_recorded_and_none_is_made(tune, answer, outcrop_home: Path) -> None:
    done = tune(lambda **_: answer({"model": "out"}))
    assert done.exit_code == 0, done.output
    assert list(outcrop_home.iterdir()) == []


def test_a_run_in_the_foreground_is_recorded(tune, queue, answer) -> None:
    ids = []

    def work(listener, **_: Any) -> Any:
        listener({"event": "stage", "title": "Training"})
        ids.append(JOB.get())
        return answer({"model": "out", "loss": float("nan")})

    done = tune(work)
    job = _job(queue)
    assert done.exit_code == 0, done.output
    assert ids == [job.id]
    assert (job.state, job.foreground, job.result) == ("succeeded", True, {"model": "out", "loss": None})
    assert [stored.event["event"] for stored in queue.events(job.id)] == ["job", "stage", "job"]


def test_a_run_that_failed_is_recorded_with_its_reason(tune, queue) -> None:
    def work(**_: Any) -> Any:
        raise Diverged("The loss became NaN.", "Try a lower learning rate.")

    done = tune(work)
    job = _job(queue)
    assert done.exit_code == 1
    assert "became NaN" in done.stderr
    assert (job.state, job.reason, job.error["message"]) == ("failed", "diverged", "The loss became NaN.")


def test_ctrl_c_leaves_a_stopped_job(tune, queue) -> None:
    def work(**_: Any) -> Any:
        raise KeyboardInterrupt

    assert tune(work).exit_code == 130
    assert _job(queue).state == "stopped"


def test_a_run_in_the_foreground_can_be_stopped_from_elsewhere(tune, queue) -> None:
    def work(listener, **_: Any) -> Any:
        queue.stop(_job(queue).id)
        while True:
            listener({"event": "progress", "title": "rows", "done": 1, "total": 2})
            threading.Event().wait(0.02)

    done = tune(work)
    assert done.exit_code == 1
    assert f"outcrop jobs resume {_job(queue).id}" in done.stderr
    assert _job(queue).state == "stopped"


def test_a_locked_database_is_one_warning(tune, queue, answer, monkeypatch) -> None:
    monkeypatch.setattr("outcrop.jobs.foreground.WAIT_S", 0.05)
    lock = sqlite3.connect(settings.home() / "outcrop.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    done = tune(lambda **_: answer({"model": "out"}))
    lock.execute("ROLLBACK")
    lock.close()
    assert done.exit_code == 0, done.output
    assert done.stderr.count("[not-recorded]") == 1
    assert queue.newest() == []


def test_a_broken_database_is_one_warning(tune, answer) -> None:
    (settings.home() / "outcrop.db").write_text("this is no database" * 100)
    done = tune(lambda **_: answer({"model": "out"}))
    assert done.exit_code == 0, done.output
    assert done.stderr.count("[not-recorded]") == 1


@pytest.fixture
def job_id(queue: Queue) -> str:
    """A job that ran, told something, and is running still."""
    made = queue.submit(JobRequest("tune", {"to": "out"}, "out", "/"))
    lease = queue.claim(made, {"pid": 1}, 600)
    assert lease is not None
    step = {"event": "step", "step": 3, "steps": 9, "epoch": 1, "loss": 0.5, "learning_rate": 1e-3, "tokens_per_s": 10}
    progress = {"title": "Training", "step": 3, "steps": 9, "loss": 0.5, "eta_s": 75.0}
    lease.beat(
        [{"event": "stage", "title": "Training"}, step, {"event": "output", "line": "red \x1b[31m"}], progress=progress
    )
    return made


def test_list_shows_where_each_job_is(command, job_id: str) -> None:
    done = command("jobs", "list")
    assert done.exit_code == 0, done.output
    assert job_id in done.stdout
    assert "step 3/9 · loss 0.5000 · 1:15 left" in done.stdout
    assert "outcrop jobs resume" in done.stderr  # no controller runs
    [facts] = json.loads(command("jobs", "list", "--output", "json").stdout)["jobs"]
    assert (facts["job"], facts["state"], facts["eta_s"]) == (job_id, "running", 75)


def test_list_without_jobs(command) -> None:
    assert "No jobs yet" in command("jobs", "list").stdout


def test_show(command, job_id: str) -> None:
    assert "running" in command("jobs", "show", job_id[:6]).stdout
    facts = json.loads(command("jobs", "show", job_id, "--output", "json").stdout)
    assert facts["arguments"] == {"to": "out"}
    assert facts["started"].endswith("+00:00")
    assert command("jobs", "show", "nothing").exit_code == 2


def test_logs_are_shown_and_followed_by_a_cursor(command, job_id: str) -> None:
    shown = command("jobs", "logs", job_id).stdout
    assert "Attempt 1: running." in shown
    assert "Training" in shown
    assert "red \\x1b[31m" in shown
    told = json.loads(command("jobs", "logs", job_id, "--output", "json", "--after", "2").stdout)
    assert [stored["number"] for stored in told["events"]] == [3, 4]
    assert told["after"] == 4


def test_logs_follow_until_the_end(command, queue: Queue, job_id: str) -> None:
    def end() -> None:
        queue.stop(job_id)
        for job in queue.newest():
            queue._table.move(job.id, {"stopping": "stopped"}, {"reason": "stopped"})

    timer = threading.Timer(0.7, end)
    timer.start()
    shown = command("jobs", "logs", job_id, "--follow").stdout
    timer.join()
    assert shown.rstrip().endswith("Attempt 1: stopped (stopped).")


def test_a_job_of_the_service_is_not_resumed(command, queue: Queue) -> None:
    made = queue.submit(JobRequest("customize", {"to": "/x"}, "/x", "/"))
    queue.stop(made)
    done = command("jobs", "resume", made)
    assert done.exit_code == 2
    assert "through the API" in " ".join(done.stderr.split())
    assert queue.get(made).state == "stopped"


def test_stop_and_resume(command, queue: Queue, asked_for) -> None:
    made = queue.submit(JobRequest("tune", {"to": "out"}, "out", "/"))
    assert command("jobs", "stop", made).stdout.strip() == f"Job {made} is stopped."
    assert asked_for == []
    assert command("jobs", "resume", made).stdout.strip() == f"Job {made} is queued."
    assert len(asked_for) == 1
    assert command("jobs", "resume", made).exit_code == 2
    assert "controller was started" in command("jobs", "resume").stdout


def test_logs_end_with_the_error_of_a_job_that_failed(command, queue: Queue) -> None:
    made = queue.submit(JobRequest("tune", {"to": "out"}, "out", "/"))
    lease = queue.claim(made, {"pid": 1}, 600)
    assert lease is not None
    lease.fail(Reason.USER_ERROR, {"code": "data", "message": "1 error in the data.", "remedy": "Mend line 3."})
    shown = command("jobs", "logs", made, "--follow").stdout
    assert shown.rstrip().endswith("error: 1 error in the data.\n  → Mend line 3.")
