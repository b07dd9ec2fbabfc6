"""Custom model deployments. A custom model answers at once without any; a deployment is a name that can be moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.service.bedrock.arns import DEPLOYMENT
from outcrop.service.bedrock.control.creation import New, make, once
from outcrop.service.bedrock.control.custom_models import custom_model
from outcrop.service.bedrock.control.listing import listed
from outcrop.service.bedrock.errors import invalid, not_found
from outcrop.service.bedrock.registry import find
from outcrop.service.calls import Call
from outcrop.store.resources import Resource

CREATE = "CreateCustomModelDeployment"


@once(CREATE)
def create(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """CreateCustomModelDeployment."""
    model = _active_model(call, given["modelArn"])
    body = {name: given[name] for name in ("description",) if name in given}
    deployment = New(
        DEPLOYMENT, given["modelDeploymentName"], "Active", body, model=model.arn, tags=given.get("tags", ())
    )
    return make(call, CREATE, given, (deployment,), {"customModelDeploymentArn": deployment.arn(call)})


def get(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetCustomModelDeployment."""
    deployment = _deployment(call, given)
    return {
        "customModelDeploymentArn": deployment.arn, "modelDeploymentName": deployment.name,
        "modelArn": deployment.model, "createdAt": deployment.created, "status": deployment.status,
        "description": deployment.body.get("description"), "updateDetails": deployment.body.get("updateDetails"),
        "lastUpdatedAt": deployment.updated,
    }  # fmt: skip


def list_all(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListCustomModelDeployments."""
    filters = {"model": given["modelArnEquals"]} if "modelArnEquals" in given else {}
    times = ("createdAfter", "createdBefore")
    return listed(call, given, DEPLOYMENT, "modelDeploymentSummaries", _summary, times=times, **filters)


def update(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """UpdateCustomModelDeployment: requests from now on go to another custom model."""
    deployment = _deployment(call, given)
    model = _active_model(call, given["modelArn"])
    details = {"updateDetails": {"modelArn": model.arn, "updateStatus": "UpdateCompleted"}}
    call.service.resources.change(deployment, {"model": model.arn, "body": {**deployment.body, **details}})
    return {"customModelDeploymentArn": deployment.arn}


def delete(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """DeleteCustomModelDeployment. The model stays."""
    call.service.resources.delete(_deployment(call, given))
    return {}


def _active_model(call: Call, arn: str) -> Resource:
    model = custom_model(call, arn)
    if model.status != "Active":
        raise invalid(f"The model {model.arn} is {model.status}, not Active.")
    return model


def _deployment(call: Call, given: Mapping[str, Any]) -> Resource:
    identifier = given["customModelDeploymentIdentifier"]
    found = find(call.service, call.project, (DEPLOYMENT,), identifier)
    if found is None:
        raise not_found(f"There is no custom model deployment {identifier}.")
    return found


def _summary(call: Call, deployment: Resource) -> dict[str, Any]:
    return {
        "customModelDeploymentArn": deployment.arn, "customModelDeploymentName": deployment.name,
        "modelArn": deployment.model, "createdAt": deployment.created, "status": deployment.status,
        "lastUpdatedAt": deployment.updated,
    }  # fmt: skip
