"""Model customization jobs: fine-tuning, continued pre-training and distillation, as durable jobs of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.core.errors import UsageError
from outcrop.service.bedrock.arns import CUSTOM_MODEL, CUSTOMIZATION_JOB
from outcrop.service.bedrock.control.bases import Base, base_of
from outcrop.service.bedrock.control.creation import New, job_request, make, once
from outcrop.service.bedrock.control.distillation import distillation_of, prompts_uri
from outcrop.service.bedrock.control.durable_jobs import job_of, stop_job
from outcrop.service.bedrock.control.listing import listed
from outcrop.service.bedrock.control.sources import below, check_readable, check_writable, places_of
from outcrop.service.bedrock.early import Look
from outcrop.service.bedrock.errors import BedrockError, conflict, invalid
from outcrop.service.bedrock.registry import find
from outcrop.service.calls import Call
from outcrop.store.places import PlacesSpec
from outcrop.store.resources import Resource
from outcrop.training.spec import TrainingSpec, bedrock_names

CREATE = "CreateModelCustomizationJob"
DISTILLATION = "DISTILLATION"
VERBS = {"FINE_TUNING": "tune", "CONTINUED_PRE_TRAINING": "pretrain", DISTILLATION: "distill"}
ECHOED = (
    "clientRequestToken", "roleArn", "hyperParameters", "trainingDataConfig", "outputDataConfig", "vpcConfig",
    "customizationConfig",
)  # fmt: skip
STAGES = ("validationDetails", "dataProcessingDetails", "trainingDetails")
STAGE_OF_TITLE = {
    "Reading": 0, "Tokenising": 1, "The teacher": 1, "Timing": 1, "Short training": 1, "Training": 2, "Scoring": 2,
    "Measuring": 2, "Writing the results": 2,
}  # fmt: skip
"""How what the trainer says it does begins → which of Bedrock's stages that is."""


@once(CREATE)
def create(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """CreateModelCustomizationJob."""
    kind = given.get("customizationType", "FINE_TUNING")
    base = base_of(call, given["baseModelIdentifier"])
    settings = _checked(call, given, kind, base)
    distillation = distillation_of(call, given) if kind == DISTILLATION else None
    places = places_of(call)[1]
    model, job = _new(call, given, kind, base)
    arguments: dict[str, Any] = {
        "base": base.path, "to": str(call.service.model_folder / model.id), "kind": VERBS[kind],
        "training": _training(given, kind)[0],
        "validation": [each["s3Uri"] for each in given.get("validationDataConfig", {}).get("validators", [])],
        "output": below(given["outputDataConfig"]["s3Uri"], f"model-customization-job-{job.id}"),
        "places": places, "method": base.method, "settings": settings, "distillation": distillation,
    }  # fmt: skip
    answer = {"jobArn": job.arn(call)}
    made = make(call, CREATE, given, (model, job), answer, job_request(call, "customize", arguments))
    resource = find(call.service, call.project, (CUSTOMIZATION_JOB,), made["jobArn"])
    if resource is not None and made is answer and not (distillation and distillation["from_logs"]):
        uris, output = (arguments["training"], *arguments["validation"]), arguments["output"]
        look = Look(resource, PlacesSpec.parse(places), uris, output, model.id, prompts=kind == DISTILLATION)
        call.service.early.submit(look)
    return made


def _new(call: Call, given: Mapping[str, Any], kind: str, base: Base) -> tuple[New, New]:
    """The model that a job is to make, and the job."""
    model_body = {
        "foundation": base.foundation, "baseModelArn": base.foundation_arn, "customizationType": kind,
        "jobName": given["jobName"],
    } | {name: given[name] for name in (*ECHOED, "validationDataConfig") if name in given}  # fmt: skip
    model = New(
        CUSTOM_MODEL, given["customModelName"], "Creating", model_body, below=base.name, model=base.arn,
        tags=given.get("customModelTags", ()),
    )  # fmt: skip
    body = {
        "modelId": model.id, "model": model_body, "kind": kind, "customModelName": given["customModelName"],
        "customModelArn": model.arn(call), "baseModelArn": base.foundation_arn,
        **{name: given[name] for name in (*ECHOED, "validationDataConfig", "customModelKmsKeyId") if name in given},
    }  # fmt: skip
    job = New(
        CUSTOMIZATION_JOB, given["jobName"], "InProgress", body, below=base.name, model=base.arn,
        tags=given.get("jobTags", ()), has_job=True,
    )  # fmt: skip
    model_body["jobArn"] = job.arn(call)
    return model, job


def get(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetModelCustomizationJob."""
    job = _job(call, given["jobIdentifier"])
    body = job.body
    return {
        "jobArn": job.arn, "jobName": job.name, "outputModelName": body["customModelName"],
        "outputModelArn": body["customModelArn"] if job.status == "Completed" else None,
        "status": job.status, "statusDetails": _details(call, job), "failureMessage": body.get("failureMessage"),
        "creationTime": job.created, "lastModifiedTime": job.updated, "endTime": job.ended,
        "baseModelArn": body["baseModelArn"], "customizationType": body["kind"],
        "validationDataConfig": body.get("validationDataConfig", {"validators": []}),
        "outputModelKmsKeyArn": _key_arn(body.get("customModelKmsKeyId")),
        "trainingMetrics": body.get("trainingMetrics"), "validationMetrics": body.get("validationMetrics"),
        **{name: body.get(name) for name in ECHOED},
    }  # fmt: skip


def list_all(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListModelCustomizationJobs."""
    return listed(call, given, CUSTOMIZATION_JOB, "modelCustomizationJobSummaries", _summary)


def stop(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """StopModelCustomizationJob. As with Bedrock, a stopped job leaves no model."""
    return stop_job(call, _job(call, given["jobIdentifier"]))


def _job(call: Call, identifier: str) -> Resource:
    return job_of(call, CUSTOMIZATION_JOB, identifier)


def _summary(call: Call, job: Resource) -> dict[str, Any]:
    return {
        "jobArn": job.arn, "baseModelArn": job.body["baseModelArn"], "jobName": job.name, "status": job.status,
        "lastModifiedTime": job.updated, "creationTime": job.created, "endTime": job.ended,
        "customModelArn": job.body["customModelArn"] if job.status == "Completed" else None,
        "customModelName": job.body["customModelName"], "customizationType": job.body["kind"],
    }  # fmt: skip


def _checked(call: Call, given: Mapping[str, Any], kind: str, base: Base) -> dict[str, Any]:
    """The hyperparameters by our names. Raises ValidationException for the first thing that is not allowed."""
    if kind not in VERBS:
        raise invalid(
            f"customizationType {kind} is not available on this server. Available: {', '.join(VERBS)}. "
            "The command outcrop has more ways to make a model."
        )
    if base.customizations is not None and kind not in base.customizations:
        raise invalid(f"The model {base.arn} does not support customizationType {kind}.")
    if "customizationConfig" in given and kind != DISTILLATION:
        raise invalid(f"customizationConfig is for other types of customization than {kind}.")
    training, member = _training(given, kind)
    validators = given.get("validationDataConfig", {}).get("validators", [])
    if kind != "FINE_TUNING" and len(validators) > 1:
        raise invalid(f"{kind} takes one validator at most.")
    settings = _hyperparameters(given.get("hyperParameters", {}))
    check_readable(call, training, member)
    for number, validator in enumerate(validators, 1):
        check_readable(call, validator["s3Uri"], f"validationDataConfig.validators.{number}.s3Uri")
    check_writable(call, given["outputDataConfig"]["s3Uri"], "outputDataConfig.s3Uri")
    if find(call.service, call.project, (CUSTOM_MODEL,), given["customModelName"]) is not None:
        raise conflict(f"There is a custom model named {given['customModelName']} already.")
    return settings


def _training(given: Mapping[str, Any], kind: str) -> tuple[str, str]:
    """Where the training data are, and the member that says so."""
    if kind == DISTILLATION:
        return prompts_uri(given)
    data = given["trainingDataConfig"]
    if "s3Uri" not in data or "invocationLogsConfig" in data:
        raise invalid(f"trainingDataConfig must hold an s3Uri, and nothing else, for customizationType {kind}.")
    return data["s3Uri"], "trainingDataConfig.s3Uri"


def _hyperparameters(given: Mapping[str, str]) -> dict[str, Any]:
    try:
        parsed = TrainingSpec.from_bedrock(given)
    except UsageError as error:
        raise BedrockError("ValidationException", f"hyperParameters: {error}") from None
    names = bedrock_names()
    return {names[name]: getattr(parsed, names[name]) for name in given}


def _key_arn(key: str | None) -> str | None:
    return key if key and key.startswith("arn:") else None


def _details(call: Call, job: Resource) -> dict[str, Any]:
    """The three stages that Bedrock shows, from what the durable job tells of itself."""
    if job.status == "Completed":
        states = ["Completed"] * 3
    else:
        row = call.service.queue.get(job.job_id) if job.job_id else None
        title = (row.progress or {}).get("title") or "" if row else ""
        at = next((stage for start, stage in STAGE_OF_TITLE.items() if title.startswith(start)), -1)
        states = ["Completed" if n < at else job.status if n == at else "NotStarted" for n in range(3)]
        states[0] = job.status if at < 0 else states[0]
    times = {"creationTime": job.created, "lastModifiedTime": job.updated}
    return {
        stage: {"status": state, **(times if state != "NotStarted" else {})}
        for stage, state in zip(STAGES, states, strict=True)
    }
