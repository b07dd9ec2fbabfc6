"""The registry: from whatever a client calls a model to the folder that answers for it, within one project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from outcrop.service.bedrock.arns import CUSTOM_MODEL, DEPLOYMENT, IMPORTED_MODEL, PROVISIONED, Kind
from outcrop.service.bedrock.errors import BedrockError, not_found
from outcrop.service.state import Service
from outcrop.store.projects import Project
from outcrop.store.resources import Resource

MODEL_KINDS = (CUSTOM_MODEL, IMPORTED_MODEL)
SERVING_KINDS = (PROVISIONED, DEPLOYMENT)


@dataclass(frozen=True)
class ResolvedModel:
    """A model that can be loaded.

    asked: how the client called it; path: what `find_model` takes; arn, name: of the model itself, not of what leads
    to it; foundation: id of the foundation model that it is or was made from, empty for an imported model;
    provisioned_arn, model_units: of the provisioned throughput that was asked for, None and 0 without one;
    architecture: of an imported model, as its configuration names it.
    """

    asked: str
    path: str
    kind: Literal["foundation", "custom", "imported"]
    arn: str
    name: str
    foundation: str
    provisioned_arn: str | None = None
    model_units: int = 0
    architecture: str = ""


def resolve(service: Service, project: Project, identifier: str) -> ResolvedModel:
    """The model that an id, alias, name or ARN leads to: of a foundation, custom or imported model, of a deployment or
    of provisioned throughput.

    Raises ResourceNotFoundException for what this project does not have, ValidationException for what is not ready.
    """
    base = service.foundation.find(identifier)
    if base is not None:
        return ResolvedModel(identifier, base.model.path, "foundation", base.arn, base.name, base.model.id)
    found = find(service, project, (*SERVING_KINDS, *MODEL_KINDS), identifier)
    if found is None:
        raise not_found("Model not found.")
    if found.kind not in (PROVISIONED.name, DEPLOYMENT.name):
        return _own_model(service, found, identifier, None)
    if found.model is None or found.status == "Failed":
        raise BedrockError("ValidationException", f"{found.arn} failed and serves no model.")
    foundation = service.foundation.find(found.model)
    if foundation is not None:
        units = int(found.body["modelUnits"])
        return ResolvedModel(
            identifier, foundation.model.path, "foundation", foundation.arn, foundation.name, foundation.model.id,
            found.arn, units,
        )  # fmt: skip
    model = find(service, project, MODEL_KINDS, found.model)
    if model is None:
        raise not_found("Model not found.")
    return _own_model(service, model, identifier, found if found.kind == PROVISIONED.name else None)


def find(service: Service, project: Project, kinds: Sequence[Kind], identifier: str) -> Resource | None:
    """The resource of a name or an ARN, of the first of these kinds that has it."""
    if identifier.startswith("arn:"):
        return service.resources.find(project, [kind.name for kind in kinds], arn=identifier)
    for kind in kinds:
        found = service.resources.find(project, [kind.name], name=identifier)
        if found is not None:
            return found
    return None


def folder_of(service: Service, model: Resource) -> Path:
    """Where a custom or imported model lies."""
    return service.model_folder / str(model.body.get("folder", model.id))


def _own_model(service: Service, model: Resource, asked: str, provisioned: Resource | None) -> ResolvedModel:
    if model.status != "Active":
        raise BedrockError("ValidationException", f"The model {model.arn} is {model.status}, not Active.")
    is_imported = model.kind == IMPORTED_MODEL.name
    return ResolvedModel(
        asked,
        str(folder_of(service, model)),
        "imported" if is_imported else "custom",
        model.arn,
        model.name,
        model.body.get("foundation", ""),
        provisioned.arn if provisioned else None,
        int(provisioned.body["modelUnits"]) if provisioned else 0,
        model.body.get("architecture", ""),
    )
