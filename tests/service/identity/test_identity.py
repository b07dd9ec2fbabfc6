"""STS and IAM as unmodified boto3 asks them: who am I, and roles that are accepted and kept for their project."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from outcrop.service.spec import ServeSpec
from tests.service.test_security import send
from tests.support.bedrock import customization, write_lines
from tests.support.servers import TestServer, running

pytestmark = pytest.mark.contract

TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "bedrock.amazonaws.com"}}]}
ACCESS = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*<&>"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTCROP_HOME", str(tmp_path_factory.mktemp("identity-home")))
        with running(ServeSpec(start_controller=False, identity=True)) as started:
            yield started


@pytest.fixture
def iam(server: TestServer) -> Any:
    return server.client("iam")


def _role(iam: Any, name: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), **more)["Role"]
    return made


def test_who_asks(server: TestServer) -> None:
    found = server.client("sts").get_caller_identity()
    assert (found["Account"], found["UserId"]) == (server.keys.project.account, server.keys.access_key_id)
    assert found["Arn"] == f"arn:aws:iam::{server.keys.project.account}:user/{server.keys.access_key_id}"


def test_a_role_and_its_policies_live_as_programs_use_them(server: TestServer, iam: Any) -> None:
    made = _role(iam, "tuner", Description="a < b", Tags=[{"Key": "team", "Value": "x"}], MaxSessionDuration=3600)
    assert made["Arn"] == f"arn:aws:iam::{server.keys.project.account}:role/tuner"
    assert made["AssumeRolePolicyDocument"] == TRUST
    found = iam.get_role(RoleName="tuner")["Role"]
    assert {name: found[name] for name in made} == made
    assert (found["Description"], found["Tags"]) == ("a < b", [{"Key": "team", "Value": "x"}])
    for document in (TRUST, ACCESS):  # the second replaces the first
        iam.put_role_policy(RoleName="tuner", PolicyName="inline", PolicyDocument=json.dumps(document))
    assert iam.get_role_policy(RoleName="tuner", PolicyName="inline")["PolicyDocument"] == ACCESS
    assert iam.list_role_policies(RoleName="tuner")["PolicyNames"] == ["inline"]
    policy = iam.create_policy(PolicyName="data", PolicyDocument=json.dumps(ACCESS))["Policy"]
    iam.attach_role_policy(RoleName="tuner", PolicyArn=policy["Arn"])
    iam.attach_role_policy(RoleName="tuner", PolicyArn="arn:aws:iam::aws:policy/AmazonBedrockFullAccess")
    assert [each["PolicyName"] for each in iam.list_attached_role_policies(RoleName="tuner")["AttachedPolicies"]] == [
        "AmazonBedrockFullAccess", "data"
    ]  # fmt: skip
    assert iam.get_policy(PolicyArn=policy["Arn"])["Policy"]["AttachmentCount"] == 1
    assert [each["PolicyName"] for each in iam.list_policies(Scope="Local")["Policies"]] == ["data"]
    for call in (lambda: iam.delete_role(RoleName="tuner"), lambda: iam.delete_policy(PolicyArn=policy["Arn"])):
        with pytest.raises(iam.exceptions.DeleteConflictException):
            call()
    for arn in (policy["Arn"], "arn:aws:iam::aws:policy/AmazonBedrockFullAccess"):
        iam.detach_role_policy(RoleName="tuner", PolicyArn=arn)
    iam.delete_role_policy(RoleName="tuner", PolicyName="inline")
    iam.delete_policy(PolicyArn=policy["Arn"])
    iam.delete_role(RoleName="tuner")
    assert "tuner" not in [role["RoleName"] for role in iam.list_roles()["Roles"]]


def test_the_role_of_a_job_may_be_one_of_these(server: TestServer, iam: Any) -> None:
    write_lines(server.bucket("data") / "train.jsonl", [{"prompt": "a", "completion": "b"}])
    arn, bedrock = _role(iam, "for-jobs")["Arn"], server.client()
    job = bedrock.create_model_customization_job(**customization("with-role", roleArn=arn))["jobArn"]
    assert bedrock.get_model_customization_job(jobIdentifier=job)["roleArn"] == arn
    bedrock.stop_model_customization_job(jobIdentifier=job)


def test_errors_are_those_of_iam(iam: Any) -> None:
    _role(iam, "twice")
    with pytest.raises(iam.exceptions.EntityAlreadyExistsException):
        _role(iam, "twice")
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_role(RoleName="nobody")
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.attach_role_policy(RoleName="twice", PolicyArn="arn:aws:iam::123456789012:policy/nothing")
    for name in ("a b", "x/../y", "<b>"):
        with pytest.raises(ClientError) as error:
            _role(iam, name)
        assert error.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError) as error:
        iam.create_user(UserName="somebody")
    assert error.value.response["Error"]["Code"] == "InvalidAction"


def test_other_projects_have_roles_of_their_own(server: TestServer, iam: Any) -> None:
    _role(iam, "mine")
    other = server.client("iam", keys=server.another_project("other"))
    with pytest.raises(other.exceptions.NoSuchEntityException):
        other.get_role(RoleName="mine")
    assert other.list_roles()["Roles"] == []
    assert _role(other, "mine")["Arn"] != iam.get_role(RoleName="mine")["Role"]["Arn"]


def test_it_needs_a_signature_for_its_own_service(server: TestServer) -> None:
    form = "Action=GetCallerIdentity&Version=2011-06-15"
    status, _, body = send(server, "POST", "/", {}, form.encode())
    assert (status, b"<Code>MissingAuthenticationToken</Code>" in body) == (403, True)
    wrong = replace(server.keys, secret_access_key="x" * 40)
    with pytest.raises(ClientError) as error:
        server.client("sts", keys=wrong).get_caller_identity()
    assert error.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    request = AWSRequest("POST", f"{server.url}/", {}, form)
    keys = Credentials(server.keys.access_key_id, server.keys.secret_access_key)
    SigV4Auth(keys, "bedrock", "us-east-1").add_auth(request)
    assert send(server, "POST", "/", dict(request.headers.items()), form.encode())[0] == 403


def test_without_the_option_there_is_no_such_path(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTCROP_HOME", str(tmp_path_factory.mktemp("plain-home")))
        with running(ServeSpec(start_controller=False)) as plain:
            key = {"Authorization": f"Bearer {plain.keys.bearer}"}
            assert send(plain, "POST", "/", key, b"Action=GetCallerIdentity&Version=2011-06-15")[0] == 404


@pytest.mark.parametrize("body", [b"\xff", b"&".join([b"a=b"] * 600), b"Action=GetRole", b"{}", b"Version=2010-05-08"])
def test_hostile_forms_are_refused(server: TestServer, body: bytes) -> None:
    status, _, content = send(server, "POST", "/", {"Authorization": f"Bearer {server.keys.bearer}"}, body)
    assert 400 <= status < 500
    assert content.startswith(b"<ErrorResponse>")
