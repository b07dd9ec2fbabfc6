"""Model copy jobs: a custom model once more, under another name, with a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.service.bedrock.arns import COPY_JOB, CUSTOM_MODEL
from outcrop.service.bedrock.control.creation import New, job_request, make, once
from outcrop.service.bedrock.control.custom_models import custom_model
from outcrop.service.bedrock.control.durable_jobs import job_of
from outcrop.service.bedrock.control.listing import listed
from outcrop.service.bedrock.errors import conflict, invalid
from outcrop.service.bedrock.registry import find, folder_of
from outcrop.service.calls import Call
from outcrop.store.resources import Resource

CREATE = "CreateModelCopyJob"


@once(CREATE)
def create(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """CreateModelCopyJob."""
    source = custom_model(call, given["sourceModelArn"])
    if source.status != "Active":
        raise invalid(f"The model {source.arn} is {source.status}, not Active.")
    if find(call.service, call.project, (CUSTOM_MODEL,), given["targetModelName"]) is not None:
        raise conflict(f"There is a custom model named {given['targetModelName']} already.")
    below = source.arn.partition("custom-model/")[2].rpartition("/")[0]
    tags = given.get("targetModelTags", ())
    # An adapter stays an adapter on the model that its source was made from.
    model = New(CUSTOM_MODEL, given["targetModelName"], "Creating", source.body, below, source.model, tags)
    body = {
        "modelId": model.id, "model": source.body, "sourceModelArn": source.arn, "sourceModelName": source.name,
        "targetModelArn": model.arn(call), "targetModelName": model.name, "targetModelTags": list(tags),
    }  # fmt: skip
    job = New(COPY_JOB, "", "InProgress", body, model=source.arn, has_job=True)
    arguments = {"source": str(folder_of(call.service, source)), "to": str(call.service.model_folder / model.id)}
    answer = {"jobArn": job.arn(call)}
    return make(call, CREATE, given, (model, job), answer, job_request(call, "import", arguments))


def get(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetModelCopyJob."""
    return _summary(call, job_of(call, COPY_JOB, given["jobArn"]))


def list_all(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListModelCopyJobs."""
    if given.get("sourceAccountEquals") not in (None, call.project.account):
        return {"modelCopyJobSummaries": []}
    filters = {"model": given["sourceModelArnEquals"]} if "sourceModelArnEquals" in given else {}
    found = listed(call, given, COPY_JOB, "modelCopyJobSummaries", _summary, **filters)
    wanted = given.get("targetModelNameContains", "")
    kept = [summary for summary in found["modelCopyJobSummaries"] if wanted in summary["targetModelName"]]
    return {**found, "modelCopyJobSummaries": kept}


def _summary(call: Call, job: Resource) -> dict[str, Any]:
    names = ("sourceModelArn", "sourceModelName", "targetModelArn", "targetModelName", "failureMessage")
    tags = job.body["targetModelTags"] or None
    return {
        "jobArn": job.arn, "status": job.status, "creationTime": job.created, "sourceAccountId": call.project.account,
        "targetModelTags": tags, **{name: job.body.get(name) for name in names},
    }  # fmt: skip
