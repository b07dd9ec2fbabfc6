"""Evaluation jobs that a model judges, by rubrics of Bedrock's names and by one's own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outcrop.evaluation.judging import BUILTIN
from tests.support.bedrock import PEBBLE, World, evaluation

pytestmark = pytest.mark.contract

JUDGE = {"bedrockEvaluatorModels": [{"modelIdentifier": PEBBLE}]}
GIVEN = {"models": [{"precomputedInferenceSource": {"inferenceSourceIdentifier": "elsewhere"}}]}
SCALE = [{"definition": "poor", "value": {"floatValue": 0}}, {"definition": "very good", "value": {"floatValue": 10}}]


def _request(name: str, metrics: list[str], **config: Any) -> dict[str, Any]:
    request = evaluation(name, inferenceConfig=GIVEN)
    automated = request["evaluationConfig"]["automated"]
    automated["datasetMetricConfigs"][0] |= {"metricNames": metrics}
    automated["datasetMetricConfigs"][0]["dataset"]["datasetLocation"]["s3Uri"] = "s3://data/answered.jsonl"
    automated |= config
    return request


def _custom(**changes: Any) -> dict[str, Any]:
    text = "Is {{prediction}} short for {{prompt}}?"
    own = {"name": "Brevity", "instructions": text, "ratingScale": SCALE, **changes}
    given = {name: value for name, value in own.items() if value is not None}
    return {"customMetrics": [{"customMetricDefinition": given}], "evaluatorModelConfig": JUDGE}


def test_a_model_judges_every_row_and_says_why(world: World) -> None:
    metrics = ["Builtin.Correctness", "Brevity", "rouge_l"]
    request = _request("judged", metrics, evaluatorModelConfig=JUDGE, customMetricConfig=_custom())
    arn = world.client.create_evaluation_job(**request)["jobArn"]
    world.server.work()
    found = world.client.get_evaluation_job(jobIdentifier=arn)
    assert found["status"] == "Completed", found.get("failureMessages")
    summaries = world.client.list_evaluation_jobs(nameContains="judged")["jobSummaries"]
    assert summaries[0]["evaluatorModelIdentifiers"] == [PEBBLE]
    folder = world.server.bucket("data") / "scores" / "judged" / arn.rpartition("/")[2]
    [file] = folder.glob("models/*/taskTypes/*/datasets/*/*_output.jsonl")
    rows = [json.loads(line)["automatedEvaluationResult"]["scores"] for line in file.read_text().splitlines()]
    assert len(rows) == 10
    for correctness, brevity, overlap in rows:
        assert correctness["result"] in {value for _, value in BUILTIN["Builtin.Correctness"].ratings}
        assert brevity["result"] in (0, 10)
        assert brevity["evaluatorDetails"][0]["modelIdentifier"] == PEBBLE
        assert isinstance(brevity["evaluatorDetails"][0]["explanation"], str)
        assert "evaluatorDetails" not in overlap
    summary = json.loads((folder / "evaluation_summary.json").read_text())["scores"]
    by_metric = {score["metric"]: score for score in summary}
    assert list(by_metric) == metrics
    assert by_metric["Brevity"]["value"] == pytest.approx(sum(row[1]["result"] for row in rows) / 10)
    assert by_metric["Brevity"]["low"] <= by_metric["Brevity"]["value"] <= by_metric["Brevity"]["high"]


@pytest.mark.parametrize(
    ("config", "metrics", "says"),
    [
        ({}, ["Builtin.Correctness"], "needs a judge"),
        ({"evaluatorModelConfig": JUDGE}, ["Builtin.Toxicity"], "Available: .*Builtin.Correctness"),
        ({"customMetricConfig": _custom(ratingScale=None)}, ["Brevity"], "ratingScale"),
        (
            {"customMetricConfig": _custom(ratingScale=[{"definition": "a", "value": {"stringValue": "b"}}])},
            ["Brevity"], "floatValue",
        ),
        ({"customMetricConfig": _custom(instructions="{{nothing}}")}, ["Brevity"], "name nothing"),
        ({"customMetricConfig": _custom(name="rouge_l")}, ["rouge_l"], "already"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused(world: World, config: dict[str, Any], metrics: list[str], says: str) -> None:
    with pytest.raises(world.client.exceptions.ValidationException, match=says):
        world.client.create_evaluation_job(**_request("refused", metrics, **config))


def test_a_judge_must_be_there(world: World) -> None:
    nobody = {"bedrockEvaluatorModels": [{"modelIdentifier": "outcrop.nobody-v1:0"}]}
    with pytest.raises(world.client.exceptions.ResourceNotFoundException):
        world.client.create_evaluation_job(**_request("nobody", ["Builtin.Refusal"], evaluatorModelConfig=nobody))
