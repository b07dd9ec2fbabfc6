"""Model import jobs, and the imported models that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.service.bedrock.arns import IMPORT_JOB, IMPORTED_MODEL
from outcrop.service.bedrock.control.creation import TOKEN, New, job_request, make, once
from outcrop.service.bedrock.control.custom_models import remove
from outcrop.service.bedrock.control.durable_jobs import job_of
from outcrop.service.bedrock.control.listing import listed
from outcrop.service.bedrock.control.sources import check_readable, places_of
from outcrop.service.bedrock.errors import conflict, invalid, not_found
from outcrop.service.bedrock.registry import find
from outcrop.service.calls import Call
from outcrop.store.resources import Resource

CREATE = "CreateModelImportJob"


@once(CREATE)
def create(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """CreateModelImportJob."""
    source = given["modelDataSource"].get("s3DataSource")
    if source is None:
        raise invalid("modelDataSource.s3DataSource must say where the model is.")
    if find(call.service, call.project, (IMPORTED_MODEL,), given["importedModelName"]) is not None:
        raise conflict(f"There is an imported model named {given['importedModelName']} already.")
    check_readable(call, source["s3Uri"], "modelDataSource.s3DataSource.s3Uri")
    model_body = {"jobName": given["jobName"], "modelDataSource": given["modelDataSource"]}
    model = New(
        IMPORTED_MODEL, given["importedModelName"], "Creating", model_body, tags=given.get("importedModelTags", ())
    )
    body = {
        "modelId": model.id, "model": model_body, "importedModelName": model.name, "importedModelArn": model.arn(call),
        **{name: given[name] for name in ("roleArn", "modelDataSource", "vpcConfig", TOKEN) if name in given},
    }  # fmt: skip
    job = New(IMPORT_JOB, given["jobName"], "InProgress", body, tags=given.get("jobTags", ()), has_job=True)
    model_body["jobArn"] = job.arn(call)
    to = str(call.service.model_folder / model.id)
    arguments = {"source": source["s3Uri"], "to": to, "places": places_of(call)[1]}
    answer = {"jobArn": job.arn(call)}
    return make(call, CREATE, given, (model, job), answer, job_request(call, "import", arguments))


def get_job(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetModelImportJob."""
    job = job_of(call, IMPORT_JOB, given["jobIdentifier"])
    return {
        **_summary_of_job(call, job), "roleArn": job.body.get("roleArn"), "vpcConfig": job.body.get("vpcConfig"),
        "modelDataSource": job.body["modelDataSource"], "failureMessage": job.body.get("failureMessage"),
    }  # fmt: skip


def list_jobs(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListModelImportJobs."""
    return listed(call, given, IMPORT_JOB, "modelImportJobSummaries", _summary_of_job)


def get(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetImportedModel."""
    model = _model(call, given["modelIdentifier"])
    return {
        **_summary(call, model), "jobName": model.body.get("jobName"), "jobArn": model.body.get("jobArn"),
        "modelDataSource": model.body.get("modelDataSource"),
    }  # fmt: skip


def list_all(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListImportedModels."""
    return listed(call, given, IMPORTED_MODEL, "modelSummaries", _summary, status="Active")


def delete(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """DeleteImportedModel."""
    remove(call, _model(call, given["modelIdentifier"]))
    return {}


def _model(call: Call, identifier: str) -> Resource:
    call.service.progress.settle_soon()
    found = find(call.service, call.project, (IMPORTED_MODEL,), identifier)
    if found is None or found.status != "Active":
        raise not_found(f"There is no imported model {identifier}.")
    return found


def _summary(call: Call, model: Resource) -> dict[str, Any]:
    return {
        "modelArn": model.arn, "modelName": model.name, "creationTime": model.created,
        "instructSupported": model.body.get("instructSupported"), "modelArchitecture": model.body.get("architecture"),
    }  # fmt: skip


def _summary_of_job(call: Call, job: Resource) -> dict[str, Any]:
    return {
        "jobArn": job.arn, "jobName": job.name, "status": job.status, "creationTime": job.created,
        "lastModifiedTime": job.updated, "endTime": job.ended, "importedModelName": job.body["importedModelName"],
        "importedModelArn": job.body["importedModelArn"] if job.status == "Completed" else None,
    }  # fmt: skip
