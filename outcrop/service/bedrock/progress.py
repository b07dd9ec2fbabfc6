"""From durable jobs to what Bedrock tells of them: statuses, failures, and the models that they leave behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outcrop.core.errors import StoreUnavailable
from outcrop.jobs.queue import Queue
from outcrop.service.bedrock.arns import (
    COPY_JOB,
    CUSTOM_MODEL,
    CUSTOMIZATION_JOB,
    EVALUATION_JOB,
    IMPORT_JOB,
    INVOCATION_JOB,
)
from outcrop.service.bedrock.failures import failure_message
from outcrop.service.log import LOGGER
from outcrop.store.jobs import JobRow
from outcrop.store.resources import Resource, ResourceTable

Statuses = Mapping[str, str]
"""State of a job → status of its resource."""

USUAL: Statuses = {
    "queued": "InProgress", "running": "InProgress", "stopping": "Stopping",
    "succeeded": "Completed", "failed": "Failed", "stopped": "Stopped",
}  # fmt: skip
WITHOUT_STOP: Statuses = {**USUAL, "stopping": "InProgress", "stopped": "Failed"}
"""Of jobs that Bedrock cannot stop: whoever stopped them by the command made them fail."""
STATUSES: Mapping[str, Statuses] = {
    CUSTOMIZATION_JOB.name: USUAL,
    EVALUATION_JOB.name: USUAL,
    INVOCATION_JOB.name: {**USUAL, "queued": "Submitted"},
    IMPORT_JOB.name: WITHOUT_STOP,
    COPY_JOB.name: WITHOUT_STOP,
    CUSTOM_MODEL.name: {
        **dict.fromkeys(("queued", "running", "stopping"), "Creating"), "succeeded": "Active", "failed": "Failed",
        "stopped": "Failed",
    },
}  # fmt: skip
UNFINISHED = ("InProgress", "Stopping", "Creating", "Submitted", "Validating", "Scheduled")
MOMENT_S = 0.2
ENDED = ("succeeded", "failed", "stopped")


@dataclass(frozen=True)
class Ending:
    """What follows from the end of a job. body: to be added to its resource; model: changes of the model that it was
    to make, None to remove it; status: instead of the usual one."""

    body: dict[str, Any]
    model: dict[str, Any] | None = None
    status: str | None = None


def _failed(job: JobRow) -> dict[str, Any]:
    if job.state == "stopped":
        return {"failureMessage": "The job was stopped."}
    return {"failureMessage": failure_message(job.error or {})}


def _customized(job: JobRow, resource: Resource) -> Ending:
    if job.state != "succeeded" or job.result is None:
        return Ending(_failed(job) if job.state == "failed" else {})
    losses = [{"validationLoss": loss} for loss in job.result["validation_losses"]]
    metrics = {"trainingMetrics": {"trainingLoss": job.result["training_loss"]}, "validationMetrics": losses}
    return Ending(metrics, {"status": "Active", "body": metrics})


def _imported(job: JobRow, resource: Resource) -> Ending:
    if job.state != "succeeded" or job.result is None:
        return Ending(_failed(job))
    facts = {
        "architecture": job.result["architecture"],
        "instructSupported": job.result["has_template"],
        "parameters": job.result["parameters"],
    }
    return Ending({}, {"status": "Active", "body": facts})


def _made(job: JobRow, resource: Resource) -> Ending:
    """A custom model that needs no job of its own in the API."""
    return Ending({} if job.state == "succeeded" else _failed(job))


def _plain(job: JobRow, resource: Resource) -> Ending:
    if job.state != "succeeded":
        return Ending(_failed(job) if job.state == "failed" else {})
    result = job.result or {}
    return Ending({"result": result}, status=result.get("status"))


ENDINGS: Mapping[str, Callable[[JobRow, Resource], Ending]] = {
    CUSTOMIZATION_JOB.name: _customized,
    IMPORT_JOB.name: _imported,
    COPY_JOB.name: _imported,
    CUSTOM_MODEL.name: _made,
    INVOCATION_JOB.name: _plain,
    EVALUATION_JOB.name: _plain,
}


class Progress:
    """Brings resources up to date with the jobs that work for them."""

    def __init__(
        self, resources: ResourceTable, queue: Queue, model_folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._resources, self._queue, self._model_folder = resources, queue, model_folder
        self._clock, self._settled = clock, -MOMENT_S

    def settle(self) -> None:
        """Look at every resource whose job had not ended. One that cannot be registered does not hinder the others."""
        self._settled = self._clock()
        for resource in self._resources.working(UNFINISHED):
            try:
                self.of(resource)
            except StoreUnavailable:
                raise
            except Exception:  # noqa: BLE001  the log says which, and why
                LOGGER.exception("The end of the job of %s could not be registered", resource.arn)

    def settle_soon(self) -> None:
        """The same, unless that was a moment ago."""
        if self._clock() - self._settled >= MOMENT_S:
            self.settle()

    def of(self, resource: Resource) -> str:
        """The status of a resource by its job, registered where it is another one than before."""
        if resource.job_id is None or resource.status not in UNFINISHED:
            return resource.status
        job = self._queue.get(resource.job_id)
        if job.state in ENDED:
            return self._end(job, resource)
        status = STATUSES[resource.kind][job.state]
        if status != resource.status:
            self._resources.change(resource, {"status": status}, only_in=UNFINISHED)
        return status

    def _end(self, job: JobRow, resource: Resource) -> str:
        ending = ENDINGS[resource.kind](job, resource)
        status = ending.status or STATUSES[resource.kind][job.state]
        values = {"status": status, "ended": job.ended, "body": {**resource.body, **ending.body}}
        others = self._others(resource, ending)
        if self._resources.change(resource, values, only_in=UNFINISHED, others=others) and job.state != "succeeded":
            self._clear(resource)
        return status

    def _others(self, resource: Resource, ending: Ending) -> dict[str, Mapping[str, Any] | None]:
        model_id = resource.body.get("modelId")
        if model_id is None or resource.kind == INVOCATION_JOB.name:
            return {}
        if ending.model is None:
            return {model_id: None}
        added = ending.model.pop("body", {})
        body = {**resource.body["model"], **added}
        return {model_id: {**ending.model, "body": body}}

    def _clear(self, resource: Resource) -> None:
        """Remove what an attempt left: it cannot be gone on with through this API."""
        made = resource.id if resource.kind == CUSTOM_MODEL.name else resource.body.get("modelId", "")
        for name in (f"{made}.work", f"{made}.partial") if made else ():
            shutil.rmtree(self._model_folder / name, ignore_errors=True)
