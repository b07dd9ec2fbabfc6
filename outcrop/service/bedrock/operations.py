"""The operations of Bedrock that this server has, and the routes of all of them: what is left out says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import Response

from outcrop.core.catalog import Catalog
from outcrop.service.bedrock import wire
from outcrop.service.bedrock.errors import BedrockError
from outcrop.service.bedrock.model import CONTROL, RUNTIME, Operation, operations
from outcrop.service.calls import Call, Endpoint
from outcrop.service.routes import MIB, Route

ControlOperation = Callable[[Call, Mapping[str, Any]], Mapping[str, Any]]
"""Takes the checked members of the request, returns those of the answer. It runs in a thread."""

HERE = "outcrop.service.bedrock.control"

CONTROL_OPERATIONS: Catalog[ControlOperation] = Catalog(
    "operation",
    {
        "CreateModelCustomizationJob": f"{HERE}.customization_jobs:create",
        "GetModelCustomizationJob": f"{HERE}.customization_jobs:get",
        "ListModelCustomizationJobs": f"{HERE}.customization_jobs:list_all",
        "StopModelCustomizationJob": f"{HERE}.customization_jobs:stop",
        "CreateCustomModel": f"{HERE}.custom_models:create",
        "GetCustomModel": f"{HERE}.custom_models:get",
        "ListCustomModels": f"{HERE}.custom_models:list_all",
        "DeleteCustomModel": f"{HERE}.custom_models:delete",
        "CreateModelImportJob": f"{HERE}.imported_models:create",
        "GetModelImportJob": f"{HERE}.imported_models:get_job",
        "ListModelImportJobs": f"{HERE}.imported_models:list_jobs",
        "GetImportedModel": f"{HERE}.imported_models:get",
        "ListImportedModels": f"{HERE}.imported_models:list_all",
        "DeleteImportedModel": f"{HERE}.imported_models:delete",
        "CreateCustomModelDeployment": f"{HERE}.deployments:create",
        "GetCustomModelDeployment": f"{HERE}.deployments:get",
        "ListCustomModelDeployments": f"{HERE}.deployments:list_all",
        "UpdateCustomModelDeployment": f"{HERE}.deployments:update",
        "DeleteCustomModelDeployment": f"{HERE}.deployments:delete",
        "CreateProvisionedModelThroughput": f"{HERE}.provisioned:create",
        "GetProvisionedModelThroughput": f"{HERE}.provisioned:get",
        "ListProvisionedModelThroughputs": f"{HERE}.provisioned:list_all",
        "UpdateProvisionedModelThroughput": f"{HERE}.provisioned:update",
        "DeleteProvisionedModelThroughput": f"{HERE}.provisioned:delete",
        "CreateModelInvocationJob": f"{HERE}.invocation_jobs:create",
        "GetModelInvocationJob": f"{HERE}.invocation_jobs:get",
        "ListModelInvocationJobs": f"{HERE}.invocation_jobs:list_all",
        "StopModelInvocationJob": f"{HERE}.invocation_jobs:stop",
        "CreateEvaluationJob": f"{HERE}.evaluation_jobs:create",
        "GetEvaluationJob": f"{HERE}.evaluation_jobs:get",
        "ListEvaluationJobs": f"{HERE}.evaluation_jobs:list_all",
        "StopEvaluationJob": f"{HERE}.evaluation_jobs:stop",
        "BatchDeleteEvaluationJob": f"{HERE}.evaluation_jobs:batch_delete",
        "CreateModelCopyJob": f"{HERE}.copy_jobs:create",
        "GetModelCopyJob": f"{HERE}.copy_jobs:get",
        "ListModelCopyJobs": f"{HERE}.copy_jobs:list_all",
        "PutModelInvocationLoggingConfiguration": f"{HERE}.logging:put",
        "GetModelInvocationLoggingConfiguration": f"{HERE}.logging:get",
        "DeleteModelInvocationLoggingConfiguration": f"{HERE}.logging:delete",
        "GetFoundationModel": f"{HERE}.foundation_models:get",
        "ListFoundationModels": f"{HERE}.foundation_models:list_all",
        "TagResource": f"{HERE}.tags:tag",
        "UntagResource": f"{HERE}.tags:untag",
        "ListTagsForResource": f"{HERE}.tags:list_all",
    },
)

THERE = "outcrop.service.bedrock.runtime"

RUNTIME_TABLE: Mapping[str, str] = {
    "Converse": f"{THERE}.conversing:answer_endpoint",
    "ConverseStream": f"{THERE}.conversing:stream_endpoint",
    "CountTokens": f"{THERE}.counting:count",
    "InvokeModel": f"{THERE}.invoking:answer_endpoint",
    "InvokeModelWithResponseStream": f"{THERE}.invoking:stream_endpoint",
}
"""Operations that answer with bytes of their own. They parse their request themselves: wire.parse, or the raw body."""


def routes(body_bytes: int) -> Iterator[Route]:
    """A route for every operation of both services. body_bytes: the longest body of a runtime request."""
    for operation in operations(CONTROL):
        endpoint = partial(_control, operation)
        yield Route(operation.method, operation.uri, operation.name, endpoint, body_bytes=MIB)
    runtime: Catalog[Endpoint] = Catalog("operation", RUNTIME_TABLE)
    for operation in operations(RUNTIME):
        answer = runtime.load(operation.name) if operation.name in runtime else partial(_control, operation)
        yield Route(operation.method, operation.uri, operation.name, answer, body_bytes=body_bytes)


async def _control(operation: Operation, call: Call) -> Response:
    if operation.name not in CONTROL_OPERATIONS:
        text = f"Outcrop has no {operation.name}. docs/service.md lists the operations that it has."
        raise BedrockError("ValidationException", text)
    body = await run_sync(_performed, operation, call)
    return Response(body, operation.status, media_type="application/json")


def _performed(operation: Operation, call: Call) -> bytes:
    given = wire.parse(operation, call.path, call.query, call.headers, call.body)
    return wire.answer(operation, CONTROL_OPERATIONS.load(operation.name)(call, given))
