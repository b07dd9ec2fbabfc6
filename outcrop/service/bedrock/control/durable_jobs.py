"""Jobs of the API, behind each of which a durable job works: found by their identifier, and stopped."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from outcrop.core.errors import UsageError
from outcrop.service.bedrock.arns import Kind
from outcrop.service.bedrock.control.listing import current
from outcrop.service.bedrock.errors import conflict, not_found
from outcrop.service.bedrock.registry import find
from outcrop.service.calls import Call
from outcrop.store.resources import Resource


def job_of(call: Call, kind: Kind, identifier: str) -> Resource:
    """The job of a name or ARN, as it is now. Raises ResourceNotFoundException."""
    found = find(call.service, call.project, (kind,), identifier)
    if found is None:
        raise not_found(f"There is no {kind.words} {identifier}.")
    return current(call, found)


def stop_job(call: Call, job: Resource, stoppable: Collection[str] = ("InProgress",)) -> dict[str, Any]:
    """Stop a job. Raises ConflictException where there is nothing to stop any more."""
    if job.status not in stoppable or job.job_id is None:
        wanted = " or ".join(stoppable)
        raise conflict(f"The job {job.arn} is {job.status}: only a job that is {wanted} can be stopped.")
    try:
        call.service.queue.stop(job.job_id)
    except UsageError:
        raise conflict(f"The job {job.arn} has just ended.") from None
    call.service.progress.of(job)
    return {}
