"""Bedrock's operations and shapes, as botocore's own service models describe them: the authority for the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel

CONTROL, RUNTIME = "bedrock", "bedrock-runtime"


@dataclass(frozen=True)
class Operation:
    """An operation. uri: its path with labels in braces; input, output: botocore's shapes; status: of its success."""

    name: str
    service: str
    method: str
    uri: str
    status: int
    input: Any
    output: Any
    errors: tuple[str, ...]


@lru_cache
def service_model(name: str) -> ServiceModel:
    """The model of "bedrock" or "bedrock-runtime", from botocore's own files whatever the environment says."""
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    return ServiceModel(loader.load_service_model(name, "service-2"), name)


@lru_cache
def operation(service: str, name: str) -> Operation:
    """An operation by name."""
    found = service_model(service).operation_model(name)
    return Operation(
        name, service, found.http["method"], found.http["requestUri"], found.http.get("responseCode", 200),
        found.input_shape, found.output_shape, tuple(shape.name for shape in found.error_shapes),
    )  # fmt: skip


def operations(service: str) -> Iterator[Operation]:
    """All operations of a service."""
    for name in service_model(service).operation_names:
        yield operation(service, name)
