"""What an evaluation job is to compute: metrics of a program, and what a model judges, by rubrics of ours or given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.core.errors import UsageError
from outcrop.evaluation import judging
from outcrop.evaluation.builtin import BUILTIN, BY_ROW, metric_of
from outcrop.evaluation.judging import Rubric
from outcrop.service.bedrock.errors import invalid
from outcrop.service.bedrock.registry import resolve
from outcrop.service.calls import Call

AUTOMATED = "evaluationConfig.automated"
JUDGED = "judged"


def judges_of(call: Call, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By name of a metric, the model that judges it, how that is called, and the rubric."""
    found = {}
    if "evaluatorModelConfig" in config:
        judge = _judge(call, config["evaluatorModelConfig"])
        found = {name: {**judge, "rubric": rubric.as_dict()} for name, rubric in judging.BUILTIN.items()}
    custom = config.get("customMetricConfig")
    if custom is not None:
        judge = _judge(call, custom["evaluatorModelConfig"])
        for number, each in enumerate(custom["customMetrics"], 1):
            rubric = _rubric(each, f"{AUTOMATED}.customMetricConfig.customMetrics.{number}")
            if rubric.name in found or rubric.name in BY_ROW:
                raise invalid(f"{AUTOMATED}.customMetricConfig: there is a metric {rubric.name} already.")
            found[rubric.name] = {**judge, "rubric": rubric.as_dict()}
    return found


def metric(task: str, name: str, place: str, judges: Mapping[str, Any]) -> str:
    """Our metric of a name. Raises ValidationException for one that is not available."""
    if name in judges:
        return JUDGED
    found = metric_of(task, name)
    if found is None and name in judging.BUILTIN:
        raise invalid(f"{place}.metricNames: {name} needs a judge: {AUTOMATED}.evaluatorModelConfig.")
    if found is None:
        named = [shown for of, shown in BUILTIN if of == task]
        allowed = ", ".join([*named, *BY_ROW, *judges])
        raise invalid(f"{place}.metricNames: {name} of {task} is not available. Available: {allowed}.")
    return found


def _judge(call: Call, config: Mapping[str, Any]) -> dict[str, Any]:
    identifier = config["bedrockEvaluatorModels"][0]["modelIdentifier"]
    return {"model": resolve(call.service, call.project, identifier).path, "identifier": identifier}


def _rubric(given: Mapping[str, Any], place: str) -> Rubric:
    definition = given["customMetricDefinition"]
    scale = definition.get("ratingScale")
    if not scale or any("floatValue" not in each["value"] for each in scale):
        raise invalid(f"{place}: ratingScale must give every rating a floatValue: ratings have a mean here.")
    ratings = sorted(((each["definition"], each["value"]["floatValue"]) for each in scale), key=lambda each: each[1])
    try:
        return Rubric.parse({**definition, "ratings": ratings})
    except UsageError as error:
        raise invalid(f"{place}: {error}") from None
