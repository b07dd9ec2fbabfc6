"""What a customization job of the type DISTILLATION says besides the others: its teacher, and prompts or logs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from outcrop.service.bedrock.control.bases import base_of
from outcrop.service.bedrock.errors import invalid
from outcrop.service.calls import Call

MEMBER = "customizationConfig.distillationConfig"
LONGEST_ANSWER = 4096
"""Tokens that maxResponseLengthForInference may ask for."""


def distillation_of(call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the job. Raises ValidationException where the teacher or the source of prompts is missing."""
    config = given.get("customizationConfig", {}).get("distillationConfig")
    if config is None:
        raise invalid(f"{MEMBER} must name the teacher of a DISTILLATION.")
    asked = config["teacherModelConfig"]
    longest = asked.get("maxResponseLengthForInference")
    if longest is not None and not 1 <= longest <= LONGEST_ANSWER:
        member = f"{MEMBER}.teacherModelConfig.maxResponseLengthForInference"
        raise invalid(f"{member} must be a whole number from 1 to {LONGEST_ANSWER}.")
    logs = given["trainingDataConfig"].get("invocationLogsConfig")
    filters = (logs or {}).get("requestMetadataFilters")
    return {
        "teacher": base_of(call, asked["teacherModelIdentifier"]).path, "longest_answer": longest,
        "from_logs": logs is not None, "where": [json.dumps(filters)] if filters else [],
        "relabel": logs is not None and not logs.get("usePromptResponse", False),
    }  # fmt: skip


def prompts_uri(given: Mapping[str, Any]) -> tuple[str, str]:
    """Where the prompts are, and the member that says so."""
    data = given["trainingDataConfig"]
    logs = data.get("invocationLogsConfig")
    if (logs is None) == ("s3Uri" not in data):
        raise invalid("trainingDataConfig must hold either an s3Uri or an invocationLogsConfig.")
    if logs is None:
        return data["s3Uri"], "trainingDataConfig.s3Uri"
    return logs["invocationLogSource"]["s3Uri"], "trainingDataConfig.invocationLogsConfig.invocationLogSource.s3Uri"
