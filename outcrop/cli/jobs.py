"""`outcrop jobs`: what was queued or recorded, how far it is, what it said; stop it, go on with it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from outcrop.cli.console import message_console, print_json, result_console, visible
from outcrop.cli.event_text import duration, measured
from outcrop.cli.help import Command, CommandGroup
from outcrop.cli.options import OutputOption
from outcrop.cli.progress import PlainProgress
from outcrop.cli.results import figures_and_tables
from outcrop.cli.workflows import API_VERBS
from outcrop.core import settings
from outcrop.core.errors import UsageError
from outcrop.jobs import controller
from outcrop.jobs.controller import IDLE_S, ControllerSpec
from outcrop.jobs.queue import Queue
from outcrop.jobs.states import LIVE
from outcrop.store.jobs import JobRow, StoredEvent

POLL_S = 0.5
STYLES = {"running": "cyan", "succeeded": "green", "failed": "red", "stopped": "yellow", "stopping": "yellow"}

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job, or its first letters.")]
MaybeJobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="The id of a job. Without one: go on with all that is queued.")
]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show so many, the newest first.")]
FollowOption = Annotated[bool, typer.Option("--follow", help="Go on until the job has ended.")]
AfterOption = Annotated[int, typer.Option("--after", metavar="NUMBER", min=0, help="Begin after this event.")]

app = typer.Typer(cls=CommandGroup, no_args_is_help=True)


class Player:
    """Shows stored events as a terminal without redrawn lines shows live ones, with the times of then."""

    def __init__(self) -> None:
        self._at = 0.0
        self._progress: PlainProgress | None = None

    def play(self, stored: StoredEvent) -> None:
        """Show an event; the first one is at 0:00."""
        self._at = stored.at
        self._progress = self._progress or PlainProgress(result_console(), clock=lambda: self._at)
        self._progress(stored.event)


@app.command("list", cls=Command)
def list_jobs(*, limit: LimitOption = 20, output: OutputOption = "text") -> None:
    """List the jobs, the newest first."""
    jobs = _queue().newest(limit)
    if output == "json":
        print_json({"jobs": [_facts(job) for job in jobs]})
        return
    if not jobs:
        result_console().print("No jobs yet. outcrop tune --detach queues one.")
        return
    result_console().print(_table(jobs))
    waiting = [job for job in jobs if job.state in LIVE and not job.foreground]
    if waiting and not controller.is_running():
        message_console().print("No controller runs, so nothing is started: outcrop jobs resume", style="yellow")


@app.command("show", cls=Command)
def show_job(job: JobArgument, *, output: OutputOption = "text") -> None:
    """Show all that is known of a job."""
    facts = _facts(_queue().get(job))
    if output == "json":
        print_json(facts)
    else:
        result_console().print(figures_and_tables({name: value for name, value in facts.items() if value is not None}))


@app.command("logs", cls=Command)
def job_logs(
    job: JobArgument, *, follow: FollowOption = False, after: AfterOption = 0, output: OutputOption = "text"
) -> None:
    """Show what a job told and printed. With --output json each event has a number, to go on from with --after."""
    queue = _queue()
    job_id = queue.get(job).id
    told: list[StoredEvent] = []
    player = Player()
    while True:
        found = queue.get(job_id)  # before the events, so that none is missed
        for stored in queue.events(job_id, after):
            told.append(stored)
            after = stored.number
            if output == "text":
                player.play(stored)
        if not follow or found.state not in LIVE:
            break
        time.sleep(POLL_S)
    if output == "json":
        events = [stored._asdict() for stored in told]
        print_json({"job": job_id, "state": found.state, "after": after, "events": events})
    elif found.error:
        result_console().print(_error(found.error))


@app.command("stop", cls=Command)
def stop_job(job: JobArgument, *, output: OutputOption = "text") -> None:
    """Stop a job: it writes a checkpoint first, from which resume goes on."""
    queue = _queue()
    job_id = queue.get(job).id
    _say(job_id, queue.stop(job_id), output)


@app.command("resume", cls=Command)
def resume_job(job: MaybeJobArgument = "", *, output: OutputOption = "text") -> None:
    """Queue a failed or stopped job again, from its last checkpoint, and start a controller if none runs."""
    queue = _queue()
    found = queue.get(job) if job else None
    if found is not None and found.verb in API_VERBS:
        problem = f"Job {found.id} was made through the service, which has told its end: it cannot be resumed."
        raise UsageError(problem, "Make it again through the API.")
    job_id = found.id if found else ""
    state = queue.resume(job_id) if found else ""
    started = controller.start(ControllerSpec(idle_s=IDLE_S))
    if job_id:
        _say(job_id, state, output)
    elif output == "json":
        print_json({"controller_started": started, "unfinished": [each.id for each in queue.unfinished()]})
    else:
        result_console().print("A controller was started." if started else "A controller runs already.")


def _queue() -> Queue:
    return Queue.open(settings.database())


def _say(job_id: str, state: str, output: str) -> None:
    if output == "json":
        print_json({"job": job_id, "state": state})
    else:
        result_console().print(Text.assemble("Job ", (job_id, "bold"), f" is {state}."))


def _error(error: dict[str, Any]) -> Text:
    """Why the last attempt failed, and what to do."""
    text = Text.assemble(("error", "bold red"), ": ", (visible(error["message"]), "bold"))
    return text.append(f"\n  → {visible(error['remedy'])}", "green") if error.get("remedy") else text


def _facts(job: JobRow) -> dict[str, Any]:
    return {
        "job": job.id, "verb": job.verb, "state": job.state, "reason": job.reason, "attempt": job.attempt,
        "target": job.target, "directory": job.directory, "device": job.device, "foreground": job.foreground,
        "created": _when(job.created), "started": _when(job.started), "ended": _when(job.ended),
        "eta_s": _eta_s(job), "progress": job.progress, "error": job.error, "arguments": job.arguments,
        "result": job.result, "last_event": job.event_count,
    }  # fmt: skip


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _eta_s(job: JobRow) -> float | None:
    """Seconds that are left, as the last step or the last progress told; None where nobody knows."""
    return (job.progress or {}).get("eta_s") if job.state in LIVE else None


def _table(jobs: list[JobRow]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="cyan")
    for name in ("job", "verb", "state", "progress", "age", "to"):
        table.add_column(name, no_wrap=name != "to", justify="right" if name == "age" else "left")
    for job in jobs:
        table.add_row(
            Text(job.id, "bold"), job.verb, Text(job.state, STYLES.get(job.state, "")), _progress(job),
            duration(job.now - job.created), visible(job.target),
        )  # fmt: skip
    return table


def _progress(job: JobRow) -> str:
    """Where a job is, or why it ended, in a few words."""
    if job.state not in LIVE:
        return visible(job.reason or "")
    found = job.progress or {}
    parts = [f"step {found['step']:,}/{found['steps']:,}"] if found.get("step") else [visible(found.get("title") or "")]
    parts += [f"loss {measured(found['loss'])}"] if found.get("loss") is not None else []
    parts += [f"{duration(found['eta_s'])} left"] if found.get("eta_s") is not None else []
    return " · ".join(part for part in parts if part)
