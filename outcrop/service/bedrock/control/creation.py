"""How every create operation makes its resources: once for a token, all or nothing, under a name of their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from outcrop.core.ids import new_id
from outcrop.jobs.queue import JobRequest
from outcrop.jobs.slots import preferred_device
from outcrop.service.bedrock import arns
from outcrop.service.bedrock.arns import KINDS, Kind
from outcrop.service.bedrock.control.tags import as_dict
from outcrop.service.bedrock.errors import conflict
from outcrop.service.calls import Call
from outcrop.store.resources import NameTaken, RequestToken, TokenTaken

TOKEN = "clientRequestToken"


@dataclass(frozen=True)
class New:
    """A resource to be made. below: what its ARN has before its id; name: empty where the kind has none."""

    kind: Kind
    name: str
    status: str
    body: Mapping[str, Any]
    below: str = ""
    model: str | None = None
    tags: Sequence[Mapping[str, str]] = ()
    has_job: bool = False
    id: str = field(default_factory=new_id)

    def arn(self, call: Call) -> str:
        """Its ARN."""
        return arns.arn(call.service.spec.region, call.project, self.kind, self.id, self.below)


Create = Callable[[Call, Mapping[str, Any]], Mapping[str, Any]]


def once(operation: str) -> Callable[[Create], Create]:
    """Of the function of a create operation: a request with a token that was answered before gets that answer again."""

    def decorated(create: Create) -> Create:
        @wraps(create)
        def answered(call: Call, given: Mapping[str, Any]) -> Mapping[str, Any]:
            before = earlier(call, operation, given)
            return create(call, given) if before is None else before

        return answered

    return decorated


def earlier(call: Call, operation: str, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The answer to a request that was sent before with the same token, or None.

    Raises ConflictException where that was another request.
    """
    token = given.get(TOKEN)
    found = call.service.resources.answered(call.project, operation, token) if token else None
    if found is None:
        return None
    fingerprint, answer = found
    if fingerprint != _fingerprint(given):
        raise conflict(f"The token {token} was used for another {operation} request.")
    return answer


def make(
    call: Call,
    operation: str,
    given: Mapping[str, Any],
    resources: Sequence[New],
    answer: Mapping[str, Any],
    job: JobRequest | None = None,
) -> Mapping[str, Any]:
    """Make resources, and the job that works for those that have one; returns the answer.

    Raises ConflictException where a name is taken.
    """
    job_id = new_id() if job is not None else None
    rows = [
        {
            "id": new.id, "kind": new.kind.name, "name": new.name or new.id, "arn": new.arn(call),
            "status": new.status, "model": new.model, "job_id": job_id if new.has_job else None,
            "body": dict(new.body), "tags": as_dict(new.tags, new.arn(call)),
        }
        for new in resources
    ]  # fmt: skip
    token = given.get(TOKEN)
    remembered = RequestToken(operation, token, _fingerprint(given)) if token else None
    first = call.service.queue.submitter(job, job_id) if job is not None and job_id is not None else None
    try:
        call.service.resources.add(call.project, rows, token=remembered, answer=answer, first=first)
    except NameTaken as taken:
        kind, name = taken.args
        words = next(each.words for each in KINDS if each.name == kind)
        raise conflict(f"There is a {words} named {name} already.") from None
    except TokenTaken:
        return earlier(call, operation, given) or answer
    return answer


def job_request(call: Call, verb: str, arguments: Mapping[str, Any]) -> JobRequest:
    """A job of the service. Paths in its arguments are absolute."""
    return JobRequest(verb, arguments, arguments["to"], str(call.service.home), preferred_device())


def _fingerprint(given: Mapping[str, Any]) -> str:
    request = {name: value for name, value in given.items() if name != TOKEN}
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
