"""Pages of resources: filters in the database, a position as the token, the newest first."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from outcrop.service.bedrock.arns import Kind
from outcrop.service.bedrock.errors import BedrockError, invalid
from outcrop.service.bedrock.progress import UNFINISHED
from outcrop.service.calls import Call
from outcrop.store.resources import Filter, Position, Resource

USUAL_SIZE = 100


def listed(
    call: Call,
    given: Mapping[str, Any],
    kind: Kind,
    member: str,
    summary: Callable[[Call, Resource], Mapping[str, Any]],
    *,
    times: tuple[str, str] = ("creationTimeAfter", "creationTimeBefore"),
    **filters: str,
) -> dict[str, Any]:
    """A page of a List operation. member: of its answer; times: members of its request; filters: more for Filter."""
    after, before = (given.get(name) for name in times)
    if after is not None and before is not None and after >= before:
        raise invalid(f"{times[0]} must be before {times[1]}.")
    wanted = Filter(
        kind.name,
        **{
            "name_contains": given.get("nameContains", ""), "status": given.get("statusEquals", ""), "after": after,
            "before": before, "ascending": given.get("sortOrder") == "Ascending", **filters,
        },
    )  # fmt: skip
    size = given.get("maxResults", USUAL_SIZE)
    call.service.progress.settle_soon()
    found = call.service.resources.page(call.project, wanted, size + 1, _position(given.get("nextToken")))
    token = _token(found[size - 1]) if len(found) > size else None
    return {member: [summary(call, resource) for resource in found[:size]], "nextToken": token}


def current(call: Call, resource: Resource) -> Resource:
    """The resource as it is now that its job was looked at."""
    if resource.status in UNFINISHED and call.service.progress.of(resource) != resource.status:
        found = call.service.resources.find(call.project, [resource.kind], resource_id=resource.id)
        return found or resource
    return resource


def _token(resource: Resource) -> str:
    return base64.urlsafe_b64encode(json.dumps([resource.created, resource.id]).encode()).decode()


def _position(token: str | None) -> Position | None:
    if token is None:
        return None
    try:
        created, last = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise _wrong() from None
    if isinstance(created, bool) or not isinstance(created, float | int) or not math.isfinite(created):
        raise _wrong()
    if not isinstance(last, str) or len(last) > 12 or not last.isalnum():
        raise _wrong()
    return Position(float(created), last)


def _wrong() -> BedrockError:
    return invalid("The nextToken is none that this server gave.")
