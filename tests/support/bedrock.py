"""A project of the service with one of everything, and the requests that make more."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outcrop.models.folder import BUNDLED
from tests.support.conformance import Judge
from tests.support.servers import TestServer

ROLE = "arn:aws:iam::123456789012:role/service"
PEBBLE = "outcrop.pebble-s-v1:0"
WORDS = ["red", "blue", "green", "round", "heavy", "small", "late", "early", "warm", "cold"]


@dataclass
class World:
    """A project with one of everything."""

    server: TestServer
    client: Any
    judge: Judge
    job: str = ""
    model: str = ""
    imported_job: str = ""
    imported: str = ""
    deployment: str = ""
    provisioned: str = ""
    copy_job: str = ""
    batch_job: str = ""
    evaluation_job: str = ""

    def arns(self) -> dict[str, str]:
        """The ARNs of what is in it."""
        return {name: value for name, value in vars(self).items() if isinstance(value, str)}


def customization(name: str, **changes: Any) -> dict[str, Any]:
    """A request for a customization job."""
    return {
        "jobName": name, "customModelName": f"{name}-model", "roleArn": ROLE, "baseModelIdentifier": PEBBLE,
        "trainingDataConfig": {"s3Uri": "s3://data/train.jsonl"}, "outputDataConfig": {"s3Uri": "s3://data/out/"},
        "hyperParameters": {"epochCount": "1", "learningRate": "0.001"}, **changes,
    }  # fmt: skip


def batch(name: str, **changes: Any) -> dict[str, Any]:
    """A request for a batch inference job."""
    return {
        "jobName": name, "roleArn": ROLE, "modelId": PEBBLE,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://data/batch.jsonl", "s3InputFormat": "JSONL"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://data/answers/"}}, **changes,
    }  # fmt: skip


def evaluation(name: str, **changes: Any) -> dict[str, Any]:
    """A request for an evaluation job."""
    dataset = {"name": "questions", "datasetLocation": {"s3Uri": "s3://data/questions.jsonl"}}
    config = {"taskType": "QuestionAndAnswer", "dataset": dataset, "metricNames": ["Builtin.Accuracy", "rouge_l"]}
    params = json.dumps({"inferenceConfig": {"maxTokens": 4, "temperature": 0}})
    model = {"modelIdentifier": PEBBLE, "inferenceParams": params}
    return {
        "jobName": name, "roleArn": ROLE, "evaluationConfig": {"automated": {"datasetMetricConfigs": [config]}},
        "inferenceConfig": {"models": [{"bedrockModel": model}]}, "outputDataConfig": {"s3Uri": "s3://data/scores/"},
        **changes,
    }  # fmt: skip


def populated(server: TestServer) -> World:
    """One of everything, made by boto3."""
    client = server.client()
    world = World(server, client, Judge(client))
    _write_files(server.bucket("data"))
    validators = [{"s3Uri": "s3://data/train.jsonl"}, {"s3Uri": "s3://data/train.jsonl"}]
    world.job = client.create_model_customization_job(
        **customization(
            "first", validationDataConfig={"validators": validators}, jobTags=[{"key": "team", "value": "red"}],
            customModelTags=[{"key": "team", "value": "blue"}],
        )
    )["jobArn"]  # fmt: skip
    source = {"s3DataSource": {"s3Uri": "s3://data/model/"}}
    world.imported_job = client.create_model_import_job(
        jobName="import", importedModelName="imported", roleArn=ROLE, modelDataSource=source
    )["jobArn"]
    world.batch_job = client.create_model_invocation_job(**batch("answers"))["jobArn"]
    world.evaluation_job = client.create_evaluation_job(**evaluation("scores"))["jobArn"]
    server.work()
    world.model = client.get_model_customization_job(jobIdentifier=world.job)["outputModelArn"]
    world.imported = client.get_model_import_job(jobIdentifier=world.imported_job)["importedModelArn"]
    world.deployment = client.create_custom_model_deployment(modelDeploymentName="live", modelArn=world.model)[
        "customModelDeploymentArn"
    ]
    world.provisioned = client.create_provisioned_model_throughput(
        provisionedModelName="reserved", modelId=world.model, modelUnits=2, commitmentDuration="OneMonth"
    )["provisionedModelArn"]
    world.copy_job = client.create_model_copy_job(sourceModelArn=world.model, targetModelName="copied")["jobArn"]
    server.work()
    return world


def _write_files(folder: Path) -> None:
    rows = [
        {"prompt": f"{WORDS[n % 10]} {WORDS[(n * 3 + 1) % 10]} thing {n}?", "completion": " yes" if n % 2 else " no"}
        for n in range(40)
    ]
    write_lines(folder / "train.jsonl", rows)
    write_lines(folder / "text.jsonl", [{"input": f"{word} things are here. " * 9} for word in WORDS])
    records = [{"recordId": f"R{n}", "modelInput": {"prompt": f"{WORDS[n]}?", "max_gen_len": 4}} for n in range(3)]
    write_lines(folder / "batch.jsonl", [*records, {"recordId": "bad", "modelInput": {"nothing": 1}}])
    questions = [
        {"prompt": f"What is {word}?", "referenceResponse": f"{word} is a word", "category": "x"} for word in WORDS
    ]
    write_lines(folder / "questions.jsonl", questions)
    given = [{"response": "red is a word", "modelIdentifier": "elsewhere"}]
    write_lines(folder / "answered.jsonl", [{**question, "modelResponses": given} for question in questions])
    (folder / "model").mkdir()
    for file in (BUNDLED / "pebble-s").iterdir():
        (folder / "model" / file.name).write_bytes(file.read_bytes())


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
