"""Customization jobs of the type DISTILLATION: from prompts, and from what the service logged itself."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.support.bedrock import customization, write_lines
from tests.support.conformance import Judge
from tests.support.runtime import LLAMA, TINY
from tests.support.servers import TestServer

pytestmark = pytest.mark.contract

WORDS = ["card", "money", "fee", "order", "balance", "transfer", "account", "exchange", "charge", "cancel"]
TEACHER = {"teacherModelIdentifier": LLAMA, "maxResponseLengthForInference": 4}
LOGS = {"invocationLogSource": {"s3Uri": "s3://lessons/logs/"}, "usePromptResponse": True,
        "requestMetadataFilters": {"equals": {"team": "cards"}}}  # fmt: skip


def _prompt(number: int) -> str:
    return f"{WORDS[number % 10]} {WORDS[number * 3 % 7]} {number * 37 % 101}"


def _request(name: str, **changes: Any) -> dict[str, Any]:
    given = {
        "customizationType": "DISTILLATION", "baseModelIdentifier": TINY,
        **_teacher(),
        "trainingDataConfig": {"s3Uri": "s3://lessons/prompts.jsonl"}, "outputDataConfig": {"s3Uri": "s3://lessons/out/"},
        "hyperParameters": {"epochCount": "1", "batchSize": "8"},
    }  # fmt: skip
    return customization(name, **given | changes)


def _teacher(**changes: Any) -> dict[str, Any]:
    return {"customizationConfig": {"distillationConfig": {"teacherModelConfig": {**TEACHER, **changes}}}}


@pytest.fixture(scope="module")
def client(tiny: TestServer) -> Any:
    bucket = tiny.bucket("lessons")
    turns = [[{"role": "user", "content": [{"text": _prompt(n)}]}] for n in range(48)]
    rows = [{"schemaVersion": "bedrock-conversation-2024", "messages": messages} for messages in turns]
    write_lines(bucket / "prompts.jsonl", rows)
    client = tiny.client()
    Judge(client)
    return client


@pytest.fixture(scope="module")
def teacher(tiny: TestServer, client: Any) -> str:
    """A custom model of the project: teachers may be any model here."""
    rows = [{"prompt": _prompt(n), "completion": " yes" if n % 2 else " no"} for n in range(48)]
    write_lines(tiny.bucket("lessons") / "rows.jsonl", rows)
    given = {"epochCount": "1", "learningRate": "0.005", "batchSize": "8"}
    data, out = {"s3Uri": "s3://lessons/rows.jsonl"}, {"s3Uri": "s3://lessons/out/"}
    request = customization(
        "teacher", baseModelIdentifier=TINY, hyperParameters=given, trainingDataConfig=data, outputDataConfig=out
    )
    made: str = _done(tiny, client, client.create_model_customization_job(**request)["jobArn"])["outputModelArn"]
    return made


def _done(tiny: TestServer, client: Any, job: str) -> dict[str, Any]:
    tiny.work()
    found: dict[str, Any] = client.get_model_customization_job(jobIdentifier=job)
    assert found["status"] == "Completed", found.get("failureMessage")
    return found


def test_prompts_make_a_student_that_answers(tiny: TestServer, client: Any, runtime: Any, teacher: str) -> None:
    named = _teacher(teacherModelIdentifier=teacher)
    job = client.create_model_customization_job(**_request("from-prompts", **named))["jobArn"]
    tiny.service.early.finish()
    assert client.get_model_customization_job(jobIdentifier=job)["status"] == "InProgress"
    found = _done(tiny, client, job)
    assert found["customizationConfig"] == named["customizationConfig"]
    assert found["trainingMetrics"]["trainingLoss"] >= 0
    out = tiny.bucket("lessons") / "out" / f"model-customization-job-{job.rpartition('/')[2]}"
    answers = [json.loads(line) for line in (out / "model" / "teacher.jsonl").read_text().splitlines()]
    assert {answer["messages"][-1]["content"].strip() for answer in answers} <= {"yes", "no"}, answers[0]
    made = {path.name for path in (out / "model").iterdir()}
    assert {"model.safetensors", "report.html", "distillation.json"} <= made
    assert (out / "training_artifacts" / "step_wise_training_metrics.csv").exists()
    card = json.loads((out / "model" / "outcrop.json").read_text())
    assert card["kind"] == "distilled"
    messages = [{"role": "user", "content": [{"text": _prompt(1)}]}]
    short = {"maxTokens": 4, "temperature": 0}
    assert runtime.converse(modelId=found["outputModelArn"], messages=messages, inferenceConfig=short)["usage"]


def _logged(tiny: TestServer) -> int:
    files = tiny.bucket("lessons").glob("logs/**/*.json.gz")
    return sum(len(gzip.decompress(file.read_bytes()).splitlines()) for file in files)


def test_logs_of_the_service_make_a_student(tiny: TestServer, client: Any, runtime: Any) -> None:
    config = {"s3Config": {"bucketName": "lessons", "keyPrefix": "logs"}, "textDataDeliveryEnabled": True}
    client.put_model_invocation_logging_configuration(loggingConfig=config)
    for number in range(48):
        runtime.converse(
            modelId=LLAMA, messages=[{"role": "user", "content": [{"text": _prompt(number)}]}],
            inferenceConfig={"maxTokens": 3, "temperature": 0},
            requestMetadata={"team": "cards" if number % 8 else "others"},
        )  # fmt: skip
    client.delete_model_invocation_logging_configuration()
    assert _logged(tiny) == 48
    source = {"invocationLogsConfig": LOGS}
    job = client.create_model_customization_job(**_request("from-logs", trainingDataConfig=source))["jobArn"]
    found = _done(tiny, client, job)
    assert found["trainingDataConfig"] == source
    out = tiny.bucket("lessons") / "out" / f"model-customization-job-{job.rpartition('/')[2]}"
    card = json.loads((out / "model" / "outcrop.json").read_text())
    assert sum(card["rows"].values()) == 42  # those of the team


WRONG = [
    ({"trainingDataConfig": {}}, "either an s3Uri or an invocationLogsConfig"),
    ({"trainingDataConfig": {"s3Uri": "s3://lessons/prompts.jsonl", "invocationLogsConfig": LOGS}}, "either an s3Uri"),
    ({"trainingDataConfig": {"s3Uri": "s3://lessons/absent"}}, "nothing at s3://lessons/absent"),
    ({"customizationType": "REINFORCEMENT_FINE_TUNING"}, "not available on this server"),
    ({"customizationType": "FINE_TUNING"}, "customizationConfig is for other types"),
]


def test_a_distillation_names_its_teacher(client: Any) -> None:
    request = _request("wrong")
    del request["customizationConfig"]
    with pytest.raises(client.exceptions.ValidationException, match="must name the teacher"):
        client.create_model_customization_job(**request)


@pytest.mark.parametrize(("change", "says"), [
    *WRONG, (_teacher(teacherModelIdentifier="outcrop.unknown-v1:0"), "identifier is invalid"),
    (_teacher(maxResponseLengthForInference=0), "from 1 to 4096"),
])  # fmt: skip
def test_what_is_wrong_is_refused_and_said(client: Any, change: dict[str, Any], says: str) -> None:
    with pytest.raises(client.exceptions.ValidationException, match=says):
        client.create_model_customization_job(**_request("wrong", **change))


def test_bad_prompts_fail_within_seconds_with_their_lines(tiny: TestServer, client: Any) -> None:
    rows: list[dict[str, Any]] = [{"prompt": _prompt(n)} if n % 4 else {"prompt": 1} for n in range(12)]
    write_lines(tiny.bucket("lessons") / "bad.jsonl", rows)
    request = _request("bad-prompts", trainingDataConfig={"s3Uri": "s3://lessons/bad.jsonl"})
    job = client.create_model_customization_job(**request)["jobArn"]
    tiny.service.early.finish()
    found = client.get_model_customization_job(jobIdentifier=job)
    assert found["status"] == "Failed"
    assert "s3://lessons/bad.jsonl line 1, 5, 9" in found["failureMessage"]
