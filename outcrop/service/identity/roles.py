"""Roles and policies: accepted and kept for whoever asks for them again. Nothing here allows or forbids anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from outcrop.core.ids import new_id
from outcrop.service.bedrock.errors import BedrockError
from outcrop.service.calls import Call
from outcrop.store.resources import Filter, NameTaken, Position, Resource

ROLE, POLICY, INLINE, ATTACHED = "iam-role", "iam-policy", "iam-role-policy", "iam-attachment"
"""Kinds of resources. Policies in a role, and those attached to it, are named ROLE/POLICY; their model is the role."""
PAGE = 1000
Given = Mapping[str, Any]


def identity(call: Call, given: Given) -> dict[str, Any]:
    """GetCallerIdentity."""
    return {"UserId": call.caller.key_id, "Account": call.project.account, "Arn": call.caller.arn}


def create_role(call: Call, given: Given) -> dict[str, Any]:
    """CreateRole."""
    return {"Role": _role(_made(call, ROLE, "role", given["RoleName"], given))}


def get_role(call: Call, given: Given) -> dict[str, Any]:
    """GetRole."""
    return {"Role": _role(_found(call, ROLE, given["RoleName"]))}


def list_roles(call: Call, given: Given) -> dict[str, Any]:
    """ListRoles."""
    return {"Roles": [_role(role) for role in _all(call, ROLE)], "IsTruncated": False}


def delete_role(call: Call, given: Given) -> dict[str, Any]:
    """DeleteRole, once it has no policies."""
    role = _found(call, ROLE, given["RoleName"])
    if call.service.resources.using(call.project, (INLINE, ATTACHED), role.arn):
        raise _conflict(f"The role {role.name} has policies: delete or detach them first.")
    call.service.resources.delete(role)
    return {}


def put_role_policy(call: Call, given: Given) -> dict[str, Any]:
    """PutRolePolicy: makes it, or replaces it."""
    role = _found(call, ROLE, given["RoleName"])
    _set(call, INLINE, role, given["PolicyName"], {"PolicyDocument": given["PolicyDocument"]})
    return {}


def get_role_policy(call: Call, given: Given) -> dict[str, Any]:
    """GetRolePolicy."""
    found = _found(call, INLINE, f"{given['RoleName']}/{given['PolicyName']}")
    names = {name: given[name] for name in ("RoleName", "PolicyName")}
    return {**names, "PolicyDocument": quote(found.body["PolicyDocument"])}


def list_role_policies(call: Call, given: Given) -> dict[str, Any]:
    """ListRolePolicies."""
    return {"PolicyNames": [name for name, _ in _of_role(call, INLINE, given)], "IsTruncated": False}


def delete_role_policy(call: Call, given: Given) -> dict[str, Any]:
    """DeleteRolePolicy."""
    call.service.resources.delete(_found(call, INLINE, f"{given['RoleName']}/{given['PolicyName']}"))
    return {}


def create_policy(call: Call, given: Given) -> dict[str, Any]:
    """CreatePolicy."""
    return {"Policy": _policy(call, _made(call, POLICY, "policy", given["PolicyName"], given))}


def get_policy(call: Call, given: Given) -> dict[str, Any]:
    """GetPolicy."""
    return {"Policy": _policy(call, _by_arn(call, given["PolicyArn"]))}


def list_policies(call: Call, given: Given) -> dict[str, Any]:
    """ListPolicies: those of this project; there are none of AWS."""
    return {"Policies": [_policy(call, policy) for policy in _all(call, POLICY)], "IsTruncated": False}


def delete_policy(call: Call, given: Given) -> dict[str, Any]:
    """DeletePolicy, once it is attached to no role."""
    policy = _by_arn(call, given["PolicyArn"])
    if _uses(call, policy):
        raise _conflict(f"The policy {policy.name} is attached: detach it first.")
    call.service.resources.delete(policy)
    return {}


def attach_role_policy(call: Call, given: Given) -> dict[str, Any]:
    """AttachRolePolicy. Policies of AWS, whose ARN has no account, are taken by their ARN."""
    role, arn = _found(call, ROLE, given["RoleName"]), given["PolicyArn"]
    if not arn.startswith("arn:aws:iam::aws:policy/"):
        _by_arn(call, arn)
    _set(call, ATTACHED, role, arn.rpartition("/")[2], {"PolicyArn": arn})
    return {}


def detach_role_policy(call: Call, given: Given) -> dict[str, Any]:
    """DetachRolePolicy."""
    policy = given["PolicyArn"].rpartition("/")[2]
    call.service.resources.delete(_found(call, ATTACHED, f"{given['RoleName']}/{policy}"))
    return {}


def list_attached_role_policies(call: Call, given: Given) -> dict[str, Any]:
    """ListAttachedRolePolicies."""
    found = [{"PolicyName": name, "PolicyArn": body["PolicyArn"]} for name, body in _of_role(call, ATTACHED, given)]
    return {"AttachedPolicies": found, "IsTruncated": False}


def _made(call: Call, kind: str, path: str, name: str, given: Given) -> Resource:
    below = given.get("Path", "/")
    arn = f"arn:aws:iam::{call.project.account}:{path}{below}{name}"
    row = {"id": new_id(), "kind": kind, "name": name, "arn": arn, "status": "Active", "body": dict(given)}
    try:
        call.service.resources.add(call.project, [{**row, "model": None}])
    except NameTaken:
        raise BedrockError("ConflictException", f"There is a {path} named {name} already.") from None
    return _found(call, kind, name)


def _set(call: Call, kind: str, role: Resource, policy: str, body: dict[str, Any]) -> None:
    name = f"{role.name}/{policy}"
    row = {"id": new_id(), "kind": kind, "name": name, "arn": f"{role.arn}/{kind}/{policy}", "status": "Active"}
    try:
        call.service.resources.add(call.project, [{**row, "body": body, "model": role.arn}])
    except NameTaken:
        call.service.resources.change(_found(call, kind, name), {"body": body})


def _found(call: Call, kind: str, name: str) -> Resource:
    found = call.service.resources.find(call.project, [kind], name=name)
    if found is None:
        raise BedrockError("ResourceNotFoundException", f"There is no {name}.")
    return found


def _by_arn(call: Call, arn: str) -> Resource:
    found = call.service.resources.find(call.project, [POLICY], arn=arn)
    if found is None:
        raise BedrockError("ResourceNotFoundException", f"There is no policy {arn}.")
    return found


def _all(call: Call, kind: str) -> list[Resource]:
    found: list[Resource] = []
    wanted = Filter(kind, ascending=True)
    while not len(found) % PAGE:
        position = Position(found[-1].created, found[-1].id) if found else None
        page = call.service.resources.page(call.project, wanted, PAGE, position)
        if not page:
            break
        found += page
    return found


def _of_role(call: Call, kind: str, given: Given) -> list[tuple[str, dict[str, Any]]]:
    role = _found(call, ROLE, given["RoleName"])
    found = call.service.resources.using(call.project, (kind,), role.arn)
    return sorted((each.name.partition("/")[2], each.body) for each in found)


def _uses(call: Call, policy: Resource) -> int:
    return sum(each.body["PolicyArn"] == policy.arn for each in _all(call, ATTACHED))


def _conflict(message: str) -> BedrockError:
    return BedrockError("ConflictException", message, query_code="DeleteConflict")


def _role(role: Resource) -> dict[str, Any]:
    return {
        "Path": role.body.get("Path", "/"), "RoleName": role.name, "RoleId": f"AROA{role.id.upper()}", "Arn": role.arn,
        "CreateDate": role.created, "AssumeRolePolicyDocument": quote(role.body["AssumeRolePolicyDocument"]),
        **{name: role.body.get(name) for name in ("Description", "MaxSessionDuration", "Tags")},
    }  # fmt: skip


def _policy(call: Call, policy: Resource) -> dict[str, Any]:
    return {
        "PolicyName": policy.name, "PolicyId": f"ANPA{policy.id.upper()}", "Arn": policy.arn, "DefaultVersionId": "v1",
        "Path": policy.body.get("Path", "/"), "AttachmentCount": _uses(call, policy), "IsAttachable": True,
        "CreateDate": policy.created, "UpdateDate": policy.updated, "Description": policy.body.get("Description"),
        "Tags": policy.body.get("Tags"),
    }  # fmt: skip
