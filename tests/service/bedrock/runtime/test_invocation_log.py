"""The log of invocations: off until configured, Bedrock's records under Bedrock's keys, nothing lost by a store."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.errors import StoreUnavailable
from outcrop.service.bedrock.runtime import invocation_log
from outcrop.service.bedrock.runtime.invocation_log import Entry, InvocationLog, LogSettings
from outcrop.service.bedrock.runtime.redaction import Redaction
from outcrop.store.places import Places, PlacesSpec
from outcrop.store.projects import Project
from tests.support.runtime import TINY
from tests.support.servers import TestServer

HI = [{"role": "user", "content": [{"text": "my card"}]}]
PROJECT = Project("p", "default", "123456789012")


def _places(folder: Path) -> Places:
    (folder / "logs").mkdir(parents=True)
    return Places(PlacesSpec(buckets=str(folder)))


def _entry(**given: Any) -> Entry:
    made: dict[str, Any] = {"model_id": "m", "input_tokens": 3, "output_tokens": 2, "output": {"a": "b"}} | given
    return Entry("Converse", PROJECT, "arn:aws:iam::123456789012:user/k", "id-1", made.pop("body", b'{"x": 1}'), **made)


def _records(folder: Path) -> list[dict[str, Any]]:
    files = sorted(file for file in folder.rglob("*.json.gz") if file.parent.name != "data")
    return [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def _log(lookup: Callable[[Project], LogSettings | None], entries: list[Entry]) -> InvocationLog:
    async def write() -> InvocationLog:
        log = InvocationLog("us-east-1", lookup)
        for entry in entries:
            log.write(entry)
        await log.close()
        return log

    return asyncio.run(write())


def test_records_have_bedrock_s_fields_and_lie_under_its_keys(tmp_path: Path) -> None:
    settings = LogSettings(_places(tmp_path), "s3://logs/prefix/AWSLogs/123456789012/X/us-east-1")
    log = _log(lambda _: settings, [_entry(metadata={"project": "one"}), _entry(output=None, error_code="Throttling")])
    answered, failed = _records(tmp_path)
    [file] = tmp_path.rglob("*.json.gz")
    parts = file.relative_to(tmp_path).parts
    assert parts[:6] == ("logs", "prefix", "AWSLogs", "123456789012", "X", "us-east-1")
    assert [len(part) for part in parts[6:10]] == [4, 2, 2, 2]
    assert answered.pop("timestamp").endswith("Z")
    assert answered == {
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "accountId": "123456789012",
        "identity": {"arn": "arn:aws:iam::123456789012:user/k"}, "region": "us-east-1", "requestId": "id-1",
        "operation": "Converse", "modelId": "m",
        "input": {"inputContentType": "application/json", "inputBodyJson": {"x": 1}, "inputTokenCount": 3},
        "output": {"outputContentType": "application/json", "outputBodyJson": {"a": "b"}, "outputTokenCount": 2},
        "requestMetadata": {"project": "one"},
    }  # fmt: skip
    assert failed["errorCode"] == "Throttling"
    assert "output" not in failed
    assert dict(log.counts) == {"written": 2}


def test_nothing_is_logged_while_it_is_off(tmp_path: Path) -> None:
    assert not _log(lambda _: None, [_entry()]).counts
    assert not list(tmp_path.iterdir())


def test_large_bodies_lie_beside_and_texts_may_be_left_out(tmp_path: Path) -> None:
    body = json.dumps({"prompt": "x" * invocation_log.LARGEST_BODY}).encode()
    _log(lambda _: LogSettings(_places(tmp_path), "s3://logs/a"), [_entry(body=body)])
    [record] = _records(tmp_path)
    beside = record["input"]["inputBodyS3Path"].removeprefix("s3://")
    assert gzip.decompress((tmp_path / beside).read_bytes()) == body
    assert record["output"]["outputBodyJson"] == {"a": "b"}
    _log(lambda _: LogSettings(_places(tmp_path / "b"), "s3://logs/a", text=False), [_entry()])
    [record] = _records(tmp_path / "b")
    assert record["input"] == {"inputContentType": "application/json", "inputTokenCount": 3}


def test_personal_data_is_masked_the_same_way_on_both_sides(tmp_path: Path) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": "I am jo@example.org"}]}]}).encode()
    entry = _entry(
        body=body, output={"text": "Hello jo@example.org and al@example.org"}, metadata={"who": "jo@example.org"}
    )
    _log(lambda _: LogSettings(_places(tmp_path), "s3://logs/a", redaction=Redaction()), [entry])
    [record] = _records(tmp_path)
    assert record["input"]["inputBodyJson"]["messages"][0] == {"role": "user", "content": [{"text": "I am <EMAIL_1>"}]}
    assert record["output"]["outputBodyJson"] == {"text": "Hello <EMAIL_1> and <EMAIL_2>"}
    assert record["requestMetadata"] == {"who": "<EMAIL_1>"}


def test_what_cannot_be_stored_waits_and_what_is_too_much_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invocation_log, "MOST_PENDING", 3)
    settings, broken = LogSettings(_places(tmp_path), "s3://logs/a"), [True]

    def lookup(_: Project) -> LogSettings:
        if broken[0]:
            raise StoreUnavailable("The store does not answer.", "Try again.")
        return settings

    async def test() -> InvocationLog:
        log = InvocationLog("us-east-1", lookup)
        for number in range(5):
            log.write(_entry(model_id=f"m{number}"))
        await log.flush()
        assert not _records(tmp_path)
        broken[0] = False
        await log.close()
        return log

    log = asyncio.run(test())
    assert [record["modelId"] for record in _records(tmp_path)] == ["m2", "m3", "m4"]
    assert dict(log.counts) == {"dropped": 2, "written": 3}


@pytest.mark.contract
def test_what_was_asked_before_the_log_was_switched_off_is_logged(tiny: TestServer) -> None:
    control, runtime = tiny.client("bedrock"), tiny.client("bedrock-runtime")
    bucket = tiny.bucket("switched")
    control.put_model_invocation_logging_configuration(loggingConfig={"s3Config": {"bucketName": "switched"}})
    for _ in range(3):
        runtime.converse(modelId=TINY, messages=HI, inferenceConfig={"maxTokens": 1})
    control.delete_model_invocation_logging_configuration()
    assert len(_records(bucket)) == 3


@pytest.mark.contract
def test_boto3_switches_the_log_on_and_off(tiny: TestServer) -> None:
    control, runtime = tiny.client("bedrock"), tiny.client("bedrock-runtime")
    bucket = tiny.service.home / "buckets" / tiny.service.projects.all()[0].account / "invocations"
    bucket.mkdir(parents=True)
    assert "loggingConfig" not in control.get_model_invocation_logging_configuration()
    config = {"s3Config": {"bucketName": "invocations", "keyPrefix": "team"}, "textDataDeliveryEnabled": True}
    control.put_model_invocation_logging_configuration(loggingConfig={"s3Config": {"bucketName": "invocations"}})
    control.put_model_invocation_logging_configuration(loggingConfig=config)
    assert control.get_model_invocation_logging_configuration()["loggingConfig"] == config
    short = {"maxTokens": 4, "temperature": 0}
    answer = runtime.converse(modelId=TINY, messages=HI, inferenceConfig=short, requestMetadata={"project": "one"})
    list(runtime.converse_stream(modelId=TINY, messages=HI, inferenceConfig=short)["stream"])
    body = {"prompt": "my card", "max_gen_len": 4, "temperature": 0}
    runtime.invoke_model(modelId=TINY, body=json.dumps(body), requestMetadata='{"project": "two"}')
    stream = runtime.invoke_model_with_response_stream(modelId=TINY, body=json.dumps(body))["body"]
    text = "".join(json.loads(event["chunk"]["bytes"])["generation"] for event in stream)
    with pytest.raises(runtime.exceptions.ValidationException):
        runtime.converse(modelId=TINY, messages=[])
    while len(records := _records(bucket)) < 5:
        time.sleep(0.05)
    by_operation = {(record["operation"], record.get("errorCode")): record for record in records}
    whole = by_operation["Converse", None]
    assert whole["requestMetadata"] == {"project": "one"}
    assert whole["output"]["outputBodyJson"]["output"] == answer["output"]
    assert whole["output"]["outputTokenCount"] == answer["usage"]["outputTokens"]
    assert whole["input"]["inputBodyJson"]["messages"] == HI
    chunks = by_operation["ConverseStream", None]["output"]["outputBodyJson"]
    assert [next(iter(chunk)) for chunk in chunks] == [
        "messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"
    ]  # fmt: skip
    assert by_operation["InvokeModel", None]["requestMetadata"] == {"project": "two"}
    assert by_operation["InvokeModelWithResponseStream", None]["output"]["outputBodyJson"][0]["generation"] == text
    assert by_operation["Converse", "ValidationException"]["modelId"] == TINY
    control.delete_model_invocation_logging_configuration()
    assert "loggingConfig" not in control.get_model_invocation_logging_configuration()
    for wrong in ({"cloudWatchConfig": {"logGroupName": "g", "roleArn": "arn:aws:iam::123456789012:role/r"}}, {}):
        with pytest.raises(control.exceptions.ValidationException):
            control.put_model_invocation_logging_configuration(loggingConfig=wrong)
