"""What a customization can start from: a foundation model, or a custom model of the project."""

from __future__ import annotations

from dataclasses import dataclass

from outcrop.service.bedrock.arns import CUSTOM_MODEL, IMPORTED_MODEL
from outcrop.service.bedrock.errors import invalid
from outcrop.service.bedrock.registry import find, folder_of
from outcrop.service.calls import Call


@dataclass(frozen=True)
class Base:
    """A base model. name: what stands in ARNs of what is made from it; foundation, foundation_arn: of the model at the
    bottom; customizations: what may be done, None for anything; method: full, lora, or empty."""

    arn: str
    name: str
    path: str
    foundation: str
    foundation_arn: str
    customizations: tuple[str, ...] | None
    method: str


IMPORTED = "outcrop.imported"
"""What stands in ARNs for a foundation model of which no more is known than its weights."""


def base_of(call: Call, identifier: str) -> Base:
    """The base model of an id, alias, ARN or name. Raises ValidationException where there is none that is ready."""
    found = call.service.foundation.find(identifier)
    if found is not None:
        model = found.model
        return Base(found.arn, found.name, model.path, model.id, found.arn, model.customizations, model.method)
    own = find(call.service, call.project, (CUSTOM_MODEL, IMPORTED_MODEL), identifier)
    if own is None:
        raise invalid(f"The provided model identifier is invalid: {identifier}.")
    if own.status != "Active":
        raise invalid(f"The model {own.arn} is {own.status}, not Active.")
    foundation = own.body.get("foundation") or IMPORTED
    known = call.service.foundation.find(foundation)
    arn = own.body.get("baseModelArn") or f"arn:aws:bedrock:{call.service.spec.region}::foundation-model/{foundation}"
    method = known.model.method if known else ""
    name = arn.partition("foundation-model/")[2]
    return Base(own.arn, name, str(folder_of(call.service, own)), foundation, arn, None, method)
