"""The one path of STS and IAM: the operation is a field of the form, the service is told by its version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import Response

from outcrop.core.catalog import Catalog
from outcrop.service.bedrock.errors import BedrockError
from outcrop.service.bedrock.model import service_model
from outcrop.service.calls import Call
from outcrop.service.identity import query
from outcrop.service.routes import Route

PATH = "/"
SERVICES = ("sts", "iam")
HERE = "outcrop.service.identity.roles"

OPERATIONS: Catalog[Callable[[Call, Mapping[str, Any]], Mapping[str, Any]]] = Catalog(
    "operation of STS and IAM",
    {
        "GetCallerIdentity": f"{HERE}:identity",
        "CreateRole": f"{HERE}:create_role",
        "GetRole": f"{HERE}:get_role",
        "ListRoles": f"{HERE}:list_roles",
        "DeleteRole": f"{HERE}:delete_role",
        "PutRolePolicy": f"{HERE}:put_role_policy",
        "GetRolePolicy": f"{HERE}:get_role_policy",
        "ListRolePolicies": f"{HERE}:list_role_policies",
        "DeleteRolePolicy": f"{HERE}:delete_role_policy",
        "CreatePolicy": f"{HERE}:create_policy",
        "GetPolicy": f"{HERE}:get_policy",
        "ListPolicies": f"{HERE}:list_policies",
        "DeletePolicy": f"{HERE}:delete_policy",
        "AttachRolePolicy": f"{HERE}:attach_role_policy",
        "DetachRolePolicy": f"{HERE}:detach_role_policy",
        "ListAttachedRolePolicies": f"{HERE}:list_attached_role_policies",
    },
)


def routes() -> Iterator[Route]:
    """It is signed for one of the two services, never for Bedrock."""
    yield Route("POST", PATH, "Identity", answer, services=SERVICES)


async def answer(call: Call) -> Response:
    """The answer to a form."""
    given = query.fields(call.body)
    versions = {service_model(name).api_version: name for name in SERVICES}
    service, action = versions.get(given.get("Version", ""), ""), given.get("Action", "")
    if not service or action not in OPERATIONS or action not in service_model(service).operation_names:
        raise BedrockError("UnknownOperationException", f"Outcrop has no {action[:63]} of STS or IAM.")

    def perform() -> Response:
        values = query.parse(service_model(service).operation_model(action).input_shape, given)
        return query.answer(service, action, OPERATIONS.load(action)(call, values), call.request_id)

    return await run_sync(perform)
