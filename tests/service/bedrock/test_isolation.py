"""Two projects see nothing of each other: every operation, with every identifier of the other one."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from outcrop.service.bedrock.model import CONTROL, operation
from outcrop.service.bedrock.operations import CONTROL_OPERATIONS
from outcrop.service.keys import NewKeys
from tests.support.bedrock import ROLE, World, batch, customization
from tests.support.conformance import Judge

pytestmark = pytest.mark.contract

NAMES = ("first", "first-model", "imported", "import", "live", "reserved", "copied", "answers")
LISTS = {
    "list_model_customization_jobs": "modelCustomizationJobSummaries", "list_custom_models": "modelSummaries",
    "list_model_import_jobs": "modelImportJobSummaries", "list_imported_models": "modelSummaries",
    "list_custom_model_deployments": "modelDeploymentSummaries",
    "list_provisioned_model_throughputs": "provisionedModelSummaries",
    "list_model_copy_jobs": "modelCopyJobSummaries", "list_model_invocation_jobs": "invocationJobSummaries",
    "list_evaluation_jobs": "jobSummaries",
}  # fmt: skip


@pytest.fixture(scope="module")
def stranger(world: World) -> NewKeys:
    return world.server.another_project("stranger")


@pytest.fixture(scope="module")
def client(world: World, stranger: NewKeys) -> Any:
    made = world.server.client(keys=stranger)
    Judge(made)
    return made


def _asked(client: Any, name: str, arguments: dict[str, Any]) -> str:
    """The code of the exception, or "answered"."""
    method = next(method for method, called in client.meta.method_to_api_mapping.items() if called == name)
    try:
        getattr(client, method)(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except ParamValidationError:
        return "not sent"
    return "answered"


def _by_path() -> list[tuple[str, str]]:
    """Operations with an identifier in their path, and the member that holds it."""
    found = []
    for name in CONTROL_OPERATIONS:
        shape = operation(CONTROL, name).input
        members = shape.members.items() if shape is not None else ()
        found += [(name, member) for member, part in members if part.serialization.get("location") == "uri"]
    return [each for each in found if each[0] != "GetFoundationModel"]


@pytest.mark.parametrize(("name", "member"), _by_path())
def test_nothing_is_found_by_another_project(world: World, client: Any, name: str, member: str) -> None:
    required = {"UpdateCustomModelDeployment": {"modelArn": world.model}}.get(name, {})
    ids = [arn.rpartition("/")[2] for arn in world.arns().values()]
    for identifier in (*world.arns().values(), *NAMES, *ids):
        code = _asked(client, name, {member: identifier, **required})
        assert code in ("ResourceNotFoundException", "ValidationException"), (identifier, code)


def test_nothing_is_listed_for_another_project(client: Any) -> None:
    for method, member in LISTS.items():
        assert getattr(client, method)()[member] == [], method
    assert "loggingConfig" not in client.get_model_invocation_logging_configuration()


def test_nothing_is_made_from_what_another_project_has(world: World, client: Any, stranger: NewKeys) -> None:
    bucket = world.server.bucket("data", stranger)
    (bucket / "train.jsonl").write_bytes((world.server.bucket("data") / "train.jsonl").read_bytes())
    (bucket / "batch.jsonl").write_bytes((world.server.bucket("data") / "batch.jsonl").read_bytes())
    for arn in (*world.arns().values(), "first-model", "imported", "reserved", "live"):
        requests = {
            "CreateModelCustomizationJob": customization("taken", baseModelIdentifier=arn),
            "CreateModelInvocationJob": batch("taken", modelId=arn),
            "CreateProvisionedModelThroughput": {"provisionedModelName": "t", "modelId": arn, "modelUnits": 1},
            "CreateCustomModelDeployment": {"modelDeploymentName": "t", "modelArn": arn},
            "CreateModelCopyJob": {"sourceModelArn": arn, "targetModelName": "taken"},
            "TagResource": {"resourceARN": arn, "tags": [{"key": "a", "value": "b"}]},
            "UntagResource": {"resourceARN": arn, "tagKeys": ["team"]},
            "ListTagsForResource": {"resourceARN": arn},
        }
        for name, arguments in requests.items():
            code = _asked(client, name, arguments)
            assert code in ("ResourceNotFoundException", "ValidationException", "not sent"), (name, arn, code)


def test_files_of_another_project_are_not_reached(world: World, client: Any) -> None:
    account = world.server.keys.project.account
    for uri in ("s3://data/out/", f"s3://../{account}/data/train.jsonl", f"file://{world.server.bucket('data')}/train.jsonl"):
        source = {"s3DataSource": {"s3Uri": uri}}
        arguments = {"jobName": "i", "importedModelName": "i", "roleArn": ROLE, "modelDataSource": source}
        assert _asked(client, "CreateModelImportJob", arguments) == "ValidationException", uri


def test_names_and_tokens_are_each_project_s_own(world: World, client: Any, stranger: NewKeys) -> None:
    bucket = world.server.bucket("data", stranger)
    (bucket / "train.jsonl").write_bytes((world.server.bucket("data") / "train.jsonl").read_bytes())
    token = "shared-token"
    mine = world.client.create_model_customization_job(**customization("own", clientRequestToken=token))["jobArn"]
    other = client.create_model_customization_job(**customization("own", clientRequestToken=token))["jobArn"]
    assert mine != other
    assert mine.split(":")[4] != other.split(":")[4]
    world.client.stop_model_customization_job(jobIdentifier=mine)
    client.stop_model_customization_job(jobIdentifier=other)
