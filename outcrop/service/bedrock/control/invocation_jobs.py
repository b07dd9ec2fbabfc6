"""Model invocation jobs: batch inference over files of records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.service.bedrock.arns import INVOCATION_JOB
from outcrop.service.bedrock.control.creation import New, job_request, make, once
from outcrop.service.bedrock.control.durable_jobs import job_of, stop_job
from outcrop.service.bedrock.control.listing import current, listed
from outcrop.service.bedrock.control.sources import below, check_readable, check_writable, places_of
from outcrop.service.bedrock.errors import invalid, not_found
from outcrop.service.bedrock.registry import resolve
from outcrop.service.calls import Call
from outcrop.store.resources import Resource

CREATE = "CreateModelInvocationJob"
USUAL_HOURS = 24
ECHOED = (
    "clientRequestToken", "roleArn", "inputDataConfig", "outputDataConfig", "vpcConfig", "timeoutDurationInHours",
    "modelInvocationType",
)  # fmt: skip
STOPPABLE = ("Submitted", "Validating", "Scheduled", "InProgress")


@once(CREATE)
def create(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """CreateModelInvocationJob. Any number of records is enough."""
    source, output = _locations(given)
    model = resolve(call.service, call.project, given["modelId"])
    check_readable(call, source, "inputDataConfig.s3InputDataConfig.s3Uri")
    check_writable(call, output, "outputDataConfig.s3OutputDataConfig.s3Uri")
    body = {name: given[name] for name in ECHOED if name in given} | {
        "modelId": given["modelId"], "hours": given.get("timeoutDurationInHours", USUAL_HOURS)
    }  # fmt: skip
    job = New(
        INVOCATION_JOB, given["jobName"], "Submitted", body, model=model.arn, tags=given.get("tags", ()), has_job=True
    )
    arguments = {
        "model": model.path, "to": str(call.service.home / "service" / "batch" / job.id), "source": source,
        "output": below(output, job.id), "places": places_of(call)[1],
        "invocation": given.get("modelInvocationType", "InvokeModel"), "foundation": model.foundation,
        "cache": str(call.service.home / "service" / f"predictions-{call.project.account}.sqlite"),
    }  # fmt: skip
    request = job_request(call, "invoke-batch", arguments)
    return make(call, CREATE, given, (job,), {"jobArn": job.arn(call)}, request)


def get(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetModelInvocationJob."""
    return _summary(call, _job(call, given["jobIdentifier"]))


def list_all(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListModelInvocationJobs."""
    times = ("submitTimeAfter", "submitTimeBefore")
    return listed(call, given, INVOCATION_JOB, "invocationJobSummaries", _summary, times=times)


def stop(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """StopModelInvocationJob. What was answered by then is kept for the next job that asks the same."""
    return stop_job(call, _job(call, given["jobIdentifier"]), STOPPABLE)


def _locations(given: Mapping[str, Any]) -> tuple[str, str]:
    source = given["inputDataConfig"].get("s3InputDataConfig")
    output = given["outputDataConfig"].get("s3OutputDataConfig")
    if source is None or output is None:
        raise invalid("inputDataConfig must hold s3InputDataConfig, and outputDataConfig s3OutputDataConfig.")
    return source["s3Uri"], output["s3Uri"]


def _job(call: Call, identifier: str) -> Resource:
    if identifier.startswith("arn:"):
        return job_of(call, INVOCATION_JOB, identifier)
    found = call.service.resources.find(call.project, [INVOCATION_JOB.name], resource_id=identifier)
    if found is None:
        raise not_found(f"There is no {INVOCATION_JOB.words} {identifier}.")
    return current(call, found)


def _summary(call: Call, job: Resource) -> dict[str, Any]:
    counts = job.body.get("result") or {}
    total = counts.get("rows")
    return {
        "jobArn": job.arn, "jobName": job.name, "modelId": job.body["modelId"], "status": job.status,
        "message": job.body.get("failureMessage"), "submitTime": job.created, "lastModifiedTime": job.updated,
        "endTime": job.ended, "jobExpirationTime": job.created + 3600 * job.body["hours"],
        "totalRecordCount": total, "processedRecordCount": total, "successRecordCount": counts.get("succeeded"),
        "errorRecordCount": counts.get("failed"), **{name: job.body.get(name) for name in ECHOED},
    }  # fmt: skip
