"""Tags of resources: fifty at most, each key once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outcrop.service.bedrock.arns import KINDS
from outcrop.service.bedrock.errors import BedrockError, invalid, not_found
from outcrop.service.calls import Call
from outcrop.store.resources import Resource

MOST = 50


def tag(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """TagResource."""
    resource = _resource(call, given["resourceARN"])
    if not call.service.resources.tag(resource, as_dict(given["tags"], resource.arn), MOST):
        raise _too_many(resource.arn)
    return {}


def untag(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """UntagResource."""
    call.service.resources.untag(_resource(call, given["resourceARN"]), given["tagKeys"])
    return {}


def list_all(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListTagsForResource."""
    found = call.service.resources.tags(_resource(call, given["resourceARN"]))
    return {"tags": [{"key": key, "value": value} for key, value in found.items()]}


def as_dict(tags: Sequence[Mapping[str, str]], resource: str) -> dict[str, str]:
    """Tags by key. Raises ValidationException for a key that is there twice, TooManyTagsException for too many."""
    if len(tags) > MOST:
        raise _too_many(resource)
    found: dict[str, str] = {}
    for each in tags:
        if each["key"] in found:
            raise invalid(f"The tag key {each['key']} is given twice.")
        if each["key"].lower().startswith("aws:"):
            raise invalid(f"The tag key {each['key']} begins with aws:, which is reserved.")
        found[each["key"]] = each["value"]
    return found


def _resource(call: Call, arn: str) -> Resource:
    found = call.service.resources.find(call.project, [kind.name for kind in KINDS], arn=arn)
    if found is None:
        raise not_found(f"There is no resource {arn}.")
    return found


def _too_many(resource: str) -> BedrockError:
    text = f"A resource has at most {MOST} tags."
    return BedrockError("TooManyTagsException", text, resourceName=resource)
