"""Evaluation jobs: metrics that a program computes, on answers of a model here or on answers that the rows bring."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from outcrop.core.ids import new_id
from outcrop.service.bedrock.arns import EVALUATION_JOB
from outcrop.service.bedrock.control.creation import New, job_request, make, once
from outcrop.service.bedrock.control.durable_jobs import job_of, stop_job
from outcrop.service.bedrock.control.evaluation_metrics import judges_of, metric
from outcrop.service.bedrock.control.listing import current, listed
from outcrop.service.bedrock.control.sources import below, check_readable, check_writable, places_of
from outcrop.service.bedrock.errors import invalid
from outcrop.service.bedrock.registry import find, resolve
from outcrop.service.calls import Call
from outcrop.store.resources import Resource

CREATE = "CreateEvaluationJob"
ECHOED = (
    "jobDescription", "roleArn", "customerEncryptionKeyId", "evaluationConfig", "inferenceConfig", "outputDataConfig",
)  # fmt: skip
MOST_TOKENS = 4096
PARAMETERS = {
    "maxTokens": ("max_new_tokens", 1, MOST_TOKENS),
    "temperature": ("temperature", 0, 1),
    "topP": ("top_p", 0, 1),
}


@once(CREATE)
def create(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """CreateEvaluationJob."""
    config = _config(given)
    judges = judges_of(call, config)
    datasets = _datasets(call, config, judges)
    judges = {name: judges[name] for dataset in datasets for name in dataset["metrics"] if name in judges}
    model, identifier, sampling = _model(call, given["inferenceConfig"])
    output = given["outputDataConfig"]["s3Uri"]
    check_writable(call, output, "outputDataConfig.s3Uri")
    body = {name: given[name] for name in ECHOED if name in given} | {
        "identifier": identifier, "precomputed": not model, "application": given.get("applicationType"),
        "tasks": sorted({dataset["task"] for dataset in datasets}),
        "judges": sorted({judge["identifier"] for judge in judges.values()}),
    }  # fmt: skip
    job = New(EVALUATION_JOB, given["jobName"], "InProgress", body, tags=given.get("jobTags", ()), has_job=True)
    arguments = {
        "to": str(call.service.home / "service" / "evaluations" / job.id), "datasets": datasets, "model": model,
        "identifier": identifier, "sampling": sampling, "output": below(output, f"{job.name}/{job.id}"),
        "places": places_of(call)[1], "judges": judges,
    }  # fmt: skip
    answer = {"jobArn": job.arn(call)}
    return make(call, CREATE, given, (job,), answer, job_request(call, "evaluation-job", arguments))


def get(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetEvaluationJob."""
    job = _job(call, given["jobIdentifier"])
    failure = job.body.get("failureMessage")
    return {
        "jobName": job.name, "status": job.status, "jobArn": job.arn, "jobType": "Automated",
        "applicationType": job.body.get("application"), "creationTime": job.created, "lastModifiedTime": job.updated,
        "failureMessages": [failure] if failure else None, **{name: job.body.get(name) for name in ECHOED},
    }  # fmt: skip


def list_all(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListEvaluationJobs."""
    if given.get("applicationTypeEquals") == "RagEvaluation":
        return {"jobSummaries": []}
    return listed(call, given, EVALUATION_JOB, "jobSummaries", _summary)


def stop(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """StopEvaluationJob."""
    return stop_job(call, _job(call, given["jobIdentifier"]))


def batch_delete(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """BatchDeleteEvaluationJob: forgets jobs that have ended. Their files stay where they were written."""
    errors: list[dict[str, str]] = []
    deleted = []
    for identifier in dict.fromkeys(given["jobIdentifiers"]):
        found = find(call.service, call.project, (EVALUATION_JOB,), identifier)
        if found is None:
            errors.append({"jobIdentifier": identifier, "code": "404", "message": "There is no such evaluation job."})
        elif not call.service.resources.delete(current(call, found), only_in=("Completed", "Failed", "Stopped")):
            errors.append({"jobIdentifier": identifier, "code": "409", "message": "The job has not ended."})
        else:
            deleted.append({"jobIdentifier": identifier, "jobStatus": "Deleting"})
    return {"errors": errors, "evaluationJobs": deleted}


def _config(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is asked for. Raises ValidationException for what only people can do, and for retrieval."""
    if given.get("applicationType") == "RagEvaluation":
        raise invalid("applicationType RagEvaluation is not available on this server.")
    config: Mapping[str, Any] | None = given["evaluationConfig"].get("automated")
    if config is None:
        raise invalid("evaluationConfig must be automated: this server has no work team of people.")
    return config


def _datasets(call: Call, config: Mapping[str, Any], judges: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the job will read and compute."""
    found = []
    for number, each in enumerate(config["datasetMetricConfigs"], 1):
        place = f"evaluationConfig.automated.datasetMetricConfigs.{number}"
        location = each["dataset"].get("datasetLocation", {}).get("s3Uri")
        if location is None:
            raise invalid(f"{place}.dataset.datasetLocation.s3Uri must say where the rows are.")
        if each["dataset"]["name"] in (".", ".."):
            raise invalid(f"{place}.dataset.name becomes the name of a folder, so it must not be . or ..")
        check_readable(call, location, f"{place}.dataset.datasetLocation.s3Uri")
        metrics = {name: metric(each["taskType"], name, place, judges) for name in each["metricNames"]}
        named = {"name": each["dataset"]["name"], "uri": location, "task": each["taskType"]}
        found.append({**named, "metrics": metrics, "file": new_id()})
    if len({(dataset["name"], dataset["task"]) for dataset in found}) < len(found):
        raise invalid("Two data sets of one task have the same name.")
    return found


def _model(call: Call, config: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The model's path, empty for answers that the rows bring; how it is called; how it answers."""
    models = config.get("models", [])
    if len(models) != 1:
        raise invalid("inferenceConfig.models must hold one model.")
    if "precomputedInferenceSource" in models[0]:
        return "", models[0]["precomputedInferenceSource"]["inferenceSourceIdentifier"], {}
    asked = models[0]["bedrockModel"]
    found = resolve(call.service, call.project, asked["modelIdentifier"])
    return found.path, asked["modelIdentifier"], _sampling(asked.get("inferenceParams", "{}"))


def _sampling(text: str) -> dict[str, Any]:
    member = "inferenceConfig.models.1.bedrockModel.inferenceParams"
    try:
        given = json.loads(text)
        given = given.get("inferenceConfig", given)
        items = dict(given.items())
    except (ValueError, AttributeError, RecursionError):
        raise invalid(f'{member} must be JSON such as {{"inferenceConfig": {{"maxTokens": 512}}}}.') from None
    sampling: dict[str, Any] = {"max_new_tokens": 512, "temperature": 0.0}
    for name, value in items.items():
        if name not in PARAMETERS:
            raise invalid(f"{member}: {str(name)[:63]} is not known. Allowed: {', '.join(PARAMETERS)}.")
        ours, least, most = PARAMETERS[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise invalid(f"{member}: {name} must be a number from {least} to {most}.")
        sampling[ours] = int(value) if name == "maxTokens" else float(value)
    return sampling


def _job(call: Call, identifier: str) -> Resource:
    return job_of(call, EVALUATION_JOB, identifier)


def _summary(call: Call, job: Resource) -> dict[str, Any]:
    name = "precomputedInferenceSourceIdentifiers" if job.body["precomputed"] else "bedrockModelIdentifiers"
    return {
        "jobArn": job.arn, "jobName": job.name, "status": job.status, "creationTime": job.created,
        "jobType": "Automated", "evaluationTaskTypes": job.body["tasks"],
        "applicationType": job.body.get("application"), "evaluatorModelIdentifiers": job.body.get("judges") or None,
        "inferenceConfigSummary": {"modelConfigSummary": {name: [job.body["identifier"]]}},
    }  # fmt: skip
