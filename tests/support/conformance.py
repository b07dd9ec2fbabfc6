"""Answers judged by botocore's own models: every answer is compared with the shape that its client expects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from botocore.utils import parse_timestamp

from outcrop.service.bedrock.constraints import WIDER

COMMON = {
    "AccessDeniedException", "ValidationException", "ThrottlingException", "UnrecognizedClientException",
    "InvalidSignatureException", "UnknownOperationException",
}  # fmt: skip
"""Exceptions that any operation of AWS may answer with, modelled or not."""


class Judge:
    """Watches a boto3 client. operations: names of those that succeeded; errors: codes of those that did not."""

    def __init__(self, client: Any) -> None:
        self.operations: list[str] = []
        self.errors: list[tuple[str, str]] = []
        client.meta.events.register("after-call.*", self._judge)

    def _judge(self, http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        status = http_response.status_code
        assert status != 500, http_response.content
        if status >= 300:
            code = parsed["Error"]["Code"]
            modelled = {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in model.error_shapes}
            assert code in COMMON | set(modelled), f"{model.name} does not model {code}"
            assert status == modelled.get(code, status), f"{code} with status {status}"
            assert parsed["Error"]["Message"], "an exception says something"
            self.errors.append((model.name, code))
            return
        assert status == model.http.get("responseCode", 200), f"{model.name} with status {status}"
        if model.output_shape is not None:
            wrong = list(deviations(model.output_shape, json.loads(http_response.content), model.name))
            assert not wrong, "\n".join(wrong)
        assert http_response.headers["x-amzn-requestid"]
        self.operations.append(model.name)


def deviations(shape: Any, value: Any, path: str) -> Iterator[str]:
    """Where a JSON value is not what a shape says."""
    kinds: dict[str, Any] = {
        "structure": dict, "map": dict, "list": list, "string": str, "boolean": bool, "integer": int, "long": int,
        "float": (int, float), "double": (int, float), "timestamp": str,
    }  # fmt: skip
    if not isinstance(value, kinds[shape.type_name]):
        yield f"{path}: {value!r} is no {shape.type_name}"
        return
    if shape.type_name == "structure":
        called = {part.serialization.get("name", name): name for name, part in shape.members.items()}
        given = {called.get(name) for name in value}
        yield from (f"{path}.{name} is missing" for name in shape.required_members if name not in given)
        yield from (f"{path}.{name} is unknown" for name in value if name not in called)
        for name in set(value) & set(called):
            yield from deviations(shape.members[called[name]], value[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for number, part in enumerate(value):
            yield from deviations(shape.member, part, f"{path}[{number}]")
    elif shape.type_name == "map":
        for key, part in value.items():
            yield from deviations(shape.value, part, f"{path}.{key}")
    elif shape.type_name == "timestamp":
        parse_timestamp(value)
    elif shape.type_name == "string":
        yield from _text(shape, value, path)


def _text(shape: Any, value: str, path: str) -> Iterator[str]:
    allowed, pattern = shape.metadata.get("enum"), shape.metadata.get("pattern")
    if allowed and value not in allowed:
        yield f"{path}: {value} is none of {allowed}"
    is_wider = shape.name in WIDER and re.fullmatch(WIDER[shape.name], value)
    if pattern and shape.name != "S3Uri" and not is_wider and not re.fullmatch(pattern, value):
        yield f"{path}: {value} is not of the form {pattern}"
    if not shape.metadata.get("min", 0) <= len(value) <= shape.metadata.get("max", len(value)):
        yield f"{path}: {len(value)} characters"
