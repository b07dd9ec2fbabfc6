"""The configuration of invocation logs: off until a bucket is named, checked by writing to it at once."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from outcrop.core.errors import StoreUnavailable, UsageError
from outcrop.core.ids import new_id
from outcrop.service.bedrock.arns import Kind, arn
from outcrop.service.bedrock.errors import invalid
from outcrop.service.calls import Call
from outcrop.service.state import Service
from outcrop.store.projects import Project
from outcrop.store.resources import Resource

LOGGING = Kind("invocation-logging", "invocation-logging", "invocation logging configuration")
NAME = "default"
CHECK = "amazon-bedrock-logs-permission-check"


def put(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """PutModelInvocationLoggingConfiguration."""
    config = given["loggingConfig"]
    if config.get("cloudWatchConfig"):
        raise invalid("There is no CloudWatch here. Leave out cloudWatchConfig, and give s3Config.")
    if not config.get("s3Config"):
        raise invalid("The logging configuration names no bucket. Give s3Config.bucketName.")
    _check_bucket(call, config["s3Config"])
    service = call.service
    present = _find(service, call.project)
    if present is not None:
        service.resources.change(present, {"body": config})
        return {}
    made = new_id()
    values = {
        "id": made, "kind": LOGGING.name, "name": NAME, "arn": arn(service.spec.region, call.project, LOGGING, made),
        "status": "Active", "body": config,
    }  # fmt: skip
    service.resources.add(call.project, values)
    return {}


def get(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetModelInvocationLoggingConfiguration."""
    return {"loggingConfig": configuration(call.service, call.project)}


def delete(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """DeleteModelInvocationLoggingConfiguration."""
    present = _find(call.service, call.project)
    if present is not None:
        call.service.resources.delete(present)
    return {}


def configuration(service: Service, project: Project) -> dict[str, Any] | None:
    """What a project's log is to be, None while it is off."""
    present = _find(service, project)
    return present.body if present else None


def location(config: Mapping[str, Any], project: Project, region: str) -> str:
    """The URI below which a project's records lie."""
    target = config["s3Config"]
    prefix = target.get("keyPrefix", "").strip("/")
    above = f"s3://{target['bucketName']}/{prefix}".rstrip("/")
    return f"{above}/AWSLogs/{project.account}/BedrockModelInvocationLogs/{region}"


def _find(service: Service, project: Project) -> Resource | None:
    return service.resources.find(project, [LOGGING.name], name=NAME)


def _check_bucket(call: Call, target: Mapping[str, Any]) -> None:
    prefix = target.get("keyPrefix", "").strip("/")
    uri = f"s3://{target['bucketName']}/{prefix}".rstrip("/")
    try:
        name = f"AWSLogs/{call.project.account}/BedrockModelInvocationLogs/{CHECK}"
        call.service.places.put(uri, name, io.BytesIO(b""))
    except (UsageError, StoreUnavailable, OSError) as error:
        raise invalid(f"Failed to validate permissions for log delivery to {uri}: {error}") from None
