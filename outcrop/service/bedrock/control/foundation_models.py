"""Foundation models: what the catalog has, under every name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.service.bedrock.errors import not_found
from outcrop.service.bedrock.foundation import NamedModel
from outcrop.service.calls import Call


def get(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetFoundationModel."""
    found = call.service.foundation.find(given["modelIdentifier"])
    if found is None:
        raise not_found("Could not resolve the foundation model from the provided model identifier.")
    return {"modelDetails": _summary(found)}


def list_all(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListFoundationModels."""
    summaries = [_summary(model) for model in call.service.foundation]
    wanted = {
        "customizationsSupported": given.get("byCustomizationType"),
        "outputModalities": given.get("byOutputModality"),
        "inferenceTypesSupported": given.get("byInferenceType"),
    }
    kept = [
        summary
        for summary in summaries
        if all(value is None or value in summary[name] for name, value in wanted.items())
        and given.get("byProvider", "").lower() in ("", summary["providerName"].lower())
    ]
    return {"modelSummaries": kept}


def _summary(found: NamedModel) -> dict[str, Any]:
    return {
        "modelArn": found.arn,
        "modelId": found.name,
        "modelName": found.model.shown_name,
        "providerName": found.model.shown_provider,
        "inputModalities": ["TEXT"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": True,
        "customizationsSupported": list(found.model.customizations),
        "inferenceTypesSupported": ["ON_DEMAND", "PROVISIONED"],
        "modelLifecycle": {"status": "ACTIVE"},
    }
