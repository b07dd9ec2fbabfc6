"""Custom models: what customization jobs, copies and CreateCustomModel made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from outcrop.core.ids import new_id
from outcrop.models.folder import ADAPTER_CONFIG
from outcrop.service.bedrock.arns import CUSTOM_MODEL, CUSTOMIZATION_JOB, DEPLOYMENT, IMPORTED_MODEL, PROVISIONED
from outcrop.service.bedrock.control.bases import IMPORTED
from outcrop.service.bedrock.control.creation import New, job_request, make, once
from outcrop.service.bedrock.control.listing import current, listed
from outcrop.service.bedrock.control.sources import check_readable, places_of
from outcrop.service.bedrock.errors import conflict, invalid, not_found
from outcrop.service.bedrock.progress import UNFINISHED
from outcrop.service.bedrock.registry import find, folder_of
from outcrop.service.calls import Call
from outcrop.store.resources import Resource

CREATE = "CreateCustomModel"
ECHOED = (
    "jobName", "jobArn", "baseModelArn", "customizationType", "hyperParameters", "trainingDataConfig",
    "outputDataConfig", "trainingMetrics", "validationMetrics", "customizationConfig", "failureMessage",
)  # fmt: skip


@once(CREATE)
def create(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """CreateCustomModel: from a prefix with safetensors, configuration and tokenizer."""
    source = given.get("modelSourceConfig", {}).get("s3DataSource")
    if source is None:
        raise invalid("modelSourceConfig.s3DataSource must say where the model is.")
    check_readable(call, source["s3Uri"], "modelSourceConfig.s3DataSource.s3Uri")
    model = New(
        CUSTOM_MODEL, given["modelName"], "Creating", {"customizationType": "IMPORTED"}, below="imported",
        tags=given.get("modelTags", ()), has_job=True,
    )  # fmt: skip
    to = str(call.service.model_folder / model.id)
    arguments = {"source": source["s3Uri"], "to": to, "places": places_of(call)[1]}
    answer = {"modelArn": model.arn(call)}
    return make(call, CREATE, given, (model,), answer, job_request(call, "import", arguments))


def get(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetCustomModel."""
    model = custom_model(call, given["modelIdentifier"])
    return {
        "modelArn": model.arn, "modelName": model.name, "creationTime": model.created, "modelStatus": model.status,
        "validationDataConfig": model.body.get("validationDataConfig"),
        **{name: model.body.get(name) for name in ECHOED},
    }  # fmt: skip


def list_all(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListCustomModels."""
    if given.get("isOwned") is False:
        return {"modelSummaries": []}
    filters = {"status": given.get("modelStatus", "")}
    base = given.get("foundationModelArnEquals") or given.get("baseModelArnEquals")
    if base:
        filters["model"] = base
    return listed(call, given, CUSTOM_MODEL, "modelSummaries", _summary, **filters)


def delete(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """DeleteCustomModel. Raises ConflictException while something uses the model."""
    remove(call, custom_model(call, given["modelIdentifier"]))
    return {}


def custom_model(call: Call, identifier: str) -> Resource:
    """The custom model of a name or ARN. Raises ResourceNotFoundException."""
    found = find(call.service, call.project, (CUSTOM_MODEL,), identifier)
    if found is None:
        raise not_found(f"There is no custom model {identifier}.")
    return current(call, found)


def remove(call: Call, model: Resource) -> None:
    """Delete a custom or imported model with its folder, unless something uses it."""
    if model.status == "Creating":
        raise conflict(f"The model {model.arn} is being created. Stop its job, or wait.")
    kinds = (DEPLOYMENT.name, PROVISIONED.name)
    users = [user.arn for user in call.service.resources.using(call.project, kinds, model.arn)]
    made = call.service.resources.using(call.project, (CUSTOMIZATION_JOB.name,), model.arn)
    users += [job.arn for job in made if job.status in UNFINISHED]
    users += [other.arn for other in _adapters_on(call, model)]
    if users:
        raise conflict(f"The model {model.arn} is used by {', '.join(users)}.")
    folder = folder_of(call.service, model)
    if call.service.resources.delete(model, only_in=("Active", "Failed")) and folder.exists():
        # Renamed first: a folder that is half removed must not be found under its name.
        trash = folder.with_name(f".{folder.name}.{new_id()}")
        os.replace(folder, trash)
        shutil.rmtree(trash)


def _adapters_on(call: Call, model: Resource) -> list[Resource]:
    """Models of the project whose folder is an adapter on this one."""
    kinds = (CUSTOM_MODEL.name, IMPORTED_MODEL.name)
    made = call.service.resources.using(call.project, kinds, model.arn)
    return [other for other in made if _is_adapter(folder_of(call.service, other))]


def _is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER_CONFIG).exists()


def _summary(call: Call, model: Resource) -> dict[str, Any]:
    region = call.service.spec.region
    base = model.body.get("baseModelArn") or f"arn:aws:bedrock:{region}::foundation-model/{IMPORTED}"
    name = base.partition("foundation-model/")[2]
    return {
        "modelArn": model.arn, "modelName": model.name, "creationTime": model.created, "baseModelArn": base,
        "baseModelName": name.partition(":")[0], "customizationType": model.body.get("customizationType"),
        "ownerAccountId": call.project.account, "modelStatus": model.status,
    }  # fmt: skip
