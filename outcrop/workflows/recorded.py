"""Verbs as jobs: in the foreground and recorded, or queued for a controller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from outcrop.core import settings
from outcrop.core.errors import JobFailed
from outcrop.core.events import Listener, StopRequested
from outcrop.core.files import check_target
from outcrop.generation.remote import is_remote
from outcrop.jobs import controller
from outcrop.jobs.controller import IDLE_S, ControllerSpec
from outcrop.jobs.foreground import Recorder
from outcrop.jobs.queue import JobRequest, Queue
from outcrop.jobs.slots import preferred_device
from outcrop.models.folder import find_model
from outcrop.workflows.job import StopSwitch, failure
from outcrop.workflows.run_folder import JOB
from outcrop.workflows.teacher_terms import settle_terms


@dataclass(frozen=True)
class Submitted:
    """A job that was queued. controller_started: whether it needed a controller of its own."""

    job: str
    state: str
    verb: str
    target: str
    controller_started: bool
    follow: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def submit(verb: str, arguments: Mapping[str, Any]) -> Submitted:
    """Queue a verb as a job, and start a controller if none runs.

    Raises UserErrors for what can be seen to be wrong without reading the data: the target, the model, the terms of a
    remote teacher.
    """
    check_target(Path(arguments["to"]), overwrite=arguments.get("overwrite", False))
    for name in ("base", "model"):
        if arguments.get(name):
            find_model(arguments[name])
    if arguments.get("teacher") and is_remote(arguments["teacher"]):
        settle_terms(arguments["teacher"], accepts=arguments["accept_teacher_terms"])
    queue = Queue.open(settings.database())
    job_id = queue.submit(_request(verb, arguments))
    started = controller.start(ControllerSpec(idle_s=IDLE_S))
    follow = f"outcrop jobs logs {job_id} --follow"
    return Submitted(job_id, queue.get(job_id).state, verb, arguments["to"], started, follow)


def record(verb: str, workflow: Callable[..., Any], arguments: Mapping[str, Any], listener: Listener) -> Any:
    """Run a verb here and now, and record it as a job; returns its result. A database that fails is a warning.

    Raises what the verb raises, and JobFailed where somebody stopped the job.
    """
    switch: StopSwitch | None = None

    def stop() -> None:
        if switch is not None:
            switch.throw()

    recorder = Recorder(_request(verb, arguments, foreground=True), listener, stop)
    switch = StopSwitch(recorder)
    before = JOB.set(recorder.job_id)
    try:
        result = workflow(**arguments, listener=switch)
    except StopRequested:
        recorder.halt()
        remedy = f"Go on from its last checkpoint: outcrop jobs resume {recorder.job_id}"
        raise JobFailed("The job was stopped.", remedy) from None
    except Exception as error:
        report = failure(error)
        recorder.fail(report["reason"], report["error"])
        raise
    except BaseException:
        recorder.halt()
        raise
    finally:
        JOB.reset(before)
    recorder.succeed(result.as_dict())
    return result


def _request(verb: str, arguments: Mapping[str, Any], *, foreground: bool = False) -> JobRequest:
    return JobRequest(verb, arguments, arguments["to"], str(Path.cwd()), preferred_device(), foreground)
