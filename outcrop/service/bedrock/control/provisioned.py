"""Provisioned throughput: a rate that is reserved for a model, measured in model units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyio import from_thread

from outcrop.service.bedrock.arns import PROVISIONED
from outcrop.service.bedrock.control.bases import Base, base_of
from outcrop.service.bedrock.control.creation import New, make, once
from outcrop.service.bedrock.control.listing import listed
from outcrop.service.bedrock.errors import BedrockError, conflict, invalid, not_found
from outcrop.service.bedrock.registry import find
from outcrop.service.bedrock.runtime.provisioning import (
    CREATING,
    DESIRED,
    FAILURE,
    IN_SERVICE,
    UPDATING,
    Provisioning,
)
from outcrop.service.bedrock.runtime.state import Runtime
from outcrop.service.calls import Call
from outcrop.service.inference.reservations import UNITS
from outcrop.store.resources import Resource

CREATE = "CreateProvisionedModelThroughput"
TERM_DAYS = {"OneMonth": 30, "SixMonths": 182}


@once(CREATE)
def create(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """CreateProvisionedModelThroughput. Places are held and their rate is measured in the background."""
    if given["modelUnits"] > UNITS:
        text = f"modelUnits: {given['modelUnits']} is more than the {UNITS} that a model has on this machine."
        raise BedrockError("ServiceQuotaExceededException", text)
    base = base_of(call, given["modelId"])
    body = {
        "modelUnits": given["modelUnits"], "commitmentDuration": given.get("commitmentDuration"),
        "foundationModelArn": base.foundation_arn,
    }  # fmt: skip
    made = New(
        PROVISIONED, given["provisionedModelName"], CREATING, body, model=base.arn, tags=given.get("tags", ())
    )
    answer = make(call, CREATE, given, (made,), {"provisionedModelArn": made.arn(call)})
    from_thread.run_sync(_provisioning(call).begin, call.project, answer["provisionedModelArn"])
    return answer


def get(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetProvisionedModelThroughput."""
    found = _provisioned(call, given)
    return {**_summary(call, found), "failureMessage": found.body.get(FAILURE)}


def list_all(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListProvisionedModelThroughputs."""
    filters = {"model": given["modelArnEquals"]} if "modelArnEquals" in given else {}
    return listed(call, given, PROVISIONED, "provisionedModelSummaries", _summary, **filters)


def update(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """UpdateProvisionedModelThroughput: another name, or another model of the same foundation model."""
    found = _provisioned(call, given)
    values: dict[str, Any] = {}
    if "desiredModelId" in given:
        base = base_of(call, given["desiredModelId"])
        _check_sibling(found, base)
        if base.arn != found.model:
            _check_settled(found)
            body = {name: value for name, value in found.body.items() if name != FAILURE}
            values |= {"status": UPDATING, "body": {**body, DESIRED: base.arn}}
    name = given.get("desiredProvisionedModelName")
    if name is not None and name != found.name:
        if find(call.service, call.project, (PROVISIONED,), name) is not None:
            raise conflict(f"There is a provisioned model named {name} already.")
        values["name"] = name
    if not {"desiredModelId", "desiredProvisionedModelName"} & given.keys():
        raise invalid("Give a desiredProvisionedModelName or a desiredModelId.")
    moves = DESIRED in values.get("body", {})
    if values and not call.service.resources.change(found, values, only_in=(IN_SERVICE,) if moves else ()):
        raise invalid(f"{found.arn} was changed by another request meanwhile. Look at it, and ask again.")
    if moves:
        from_thread.run_sync(_provisioning(call).begin, call.project, found.arn)
    return {}


def delete(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """DeleteProvisionedModelThroughput. A commitment is recorded, but holds nobody: there is nothing to pay."""
    found = _provisioned(call, given)
    call.service.resources.delete(found)
    from_thread.run_sync(_provisioning(call).end, found.arn)
    return {}


def _provisioning(call: Call) -> Provisioning:
    return Runtime.of(call.service).provisioning


def _check_settled(found: Resource) -> None:
    if found.status != IN_SERVICE:
        raise invalid(f"{found.arn} is {found.status}; its model can be changed while it is {IN_SERVICE}.")


def _check_sibling(found: Resource, base: Base) -> None:
    if base.foundation_arn != found.body["foundationModelArn"]:
        raise invalid(f"The model {base.arn} is not of {found.body['foundationModelArn']}, as the present one is.")
    if found.model == found.body["foundationModelArn"] and base.arn != found.model:
        raise invalid("Provisioned throughput of a foundation model cannot change its model.")


def _provisioned(call: Call, given: Mapping[str, Any]) -> Resource:
    identifier = given["provisionedModelId"]
    found = find(call.service, call.project, (PROVISIONED,), identifier)
    if found is None:
        raise not_found(f"There is no provisioned model {identifier}.")
    return found


def _summary(call: Call, found: Resource) -> dict[str, Any]:
    term = found.body.get("commitmentDuration")
    return {
        "provisionedModelName": found.name, "provisionedModelArn": found.arn, "modelArn": found.model,
        "desiredModelArn": found.body.get(DESIRED, found.model), "foundationModelArn": found.body["foundationModelArn"],
        "modelUnits": found.body["modelUnits"], "desiredModelUnits": found.body["modelUnits"], "status": found.status,
        "commitmentDuration": term, "creationTime": found.created, "lastModifiedTime": found.updated,
        "commitmentExpirationTime": found.created + TERM_DAYS[term] * 86_400 if term else None,
    }  # fmt: skip
