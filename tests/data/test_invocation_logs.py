"""Invocation logs in Bedrock's form: every body that has text, filters by metadata, and nothing left out in silence."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.errors import UsageError
from outcrop.data.invocation_logs import InvocationLogs, MetadataFilter
from outcrop.data.problems import Problems
from outcrop.data.records import Conversation, Pair

BLOCKS = {
    "messages": [{"role": "user", "content": [{"text": "Where is"}, {"text": "my card?"}]}],
    "system": [{"text": "Be kind."}],
}
CONVERSED = {
    "output": {"message": {"role": "assistant", "content": [{"text": "On its way."}]}},
    "stopReason": "end_turn",
}


def invocation(given: Any, made: Any = None, **more: Any) -> dict[str, Any]:
    record = {"schemaType": "ModelInvocationLog", "requestId": "r1", "modelId": "m", "input": {"inputBodyJson": given}}
    return record | ({"output": {"outputBodyJson": made}} if made is not None else {}) | more


def logs(folder: Path, *records: dict[str, Any]) -> str:
    hour = folder / "logs" / "2026" / "11" / "26" / "10"
    (hour / "data").mkdir(parents=True)
    (hour / "a.json.gz").write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode()))
    (hour / "data" / "r9_input.json.gz").write_bytes(gzip.compress(b"{}"))
    return str(folder / "logs")


def read(path: str, where: MetadataFilter | None = None) -> tuple[list[Any], Problems, int]:
    problems, found = Problems(), InvocationLogs([path], where)
    return list(found.read(problems)), problems, found.filtered


def test_converse(tmp_path: Path) -> None:
    (record,), problems, _ = read(logs(tmp_path, invocation(BLOCKS, CONVERSED, requestMetadata={"team": "cards"})))
    assert isinstance(record, Conversation)
    assert [(m.role, m.content) for m in record.messages] == [
        ("system", "Be kind."), ("user", "Where is\nmy card?"), ("assistant", "On its way."),
    ]  # fmt: skip
    assert record.fields["requestMetadata"] == {"team": "cards"}
    assert not problems


@pytest.mark.parametrize(
    "made",
    [
        [
            {"messageStart": {}},
            {"contentBlockDelta": {"delta": {"text": "On its "}}},
            {"contentBlockDelta": {"delta": {"text": "way."}}},
        ],
        {"content": [{"type": "text", "text": "On its way."}]},
        {"choices": [{"message": {"role": "assistant", "content": "On its way."}}]},
        {"outputs": [{"text": " On its way."}]},
        {"results": [{"outputText": "On its way."}]},
        {"completion": " On its way."},
        {"generation": "On its way."},
    ],
)
def test_other_bodies(tmp_path: Path, made: Any) -> None:
    (record,), _, _ = read(logs(tmp_path, invocation({"prompt": "Where is my card?"}, made)))
    assert isinstance(record, Pair)
    assert (record.prompt, record.completion) == ("Where is my card?", "On its way.")


def test_a_prompt_without_an_answer_is_a_prompt(tmp_path: Path) -> None:
    (record, other), _, _ = read(logs(tmp_path, invocation(BLOCKS), invocation({"inputText": "Hello"}, {})))
    assert record.messages[-1].role == "user"
    assert (other.prompt, other.completion) == ("Hello", "")


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    path = logs(
        tmp_path, invocation(BLOCKS, CONVERSED), invocation(BLOCKS, errorCode="ThrottlingException"),
        {"schemaType": "ModelInvocationLog", "input": {"inputBodyS3Path": "s3://b/k"}}, {"something": "else"},
    )  # fmt: skip
    found, problems, _ = read(path)
    assert len(found) == 1
    assert problems.count("unusable-invocation") == 2
    assert problems.count("format-mismatch") == 1


def test_filters(tmp_path: Path) -> None:
    kinds = [{"team": "cards", "stage": "live"}, {"team": "cards", "stage": "test"}, {"team": "loans"}, {}]
    path = logs(tmp_path, *(invocation(BLOCKS, CONVERSED, requestMetadata=kind) for kind in kinds))

    def kept(*texts: str) -> int:
        found, _, filtered = read(path, MetadataFilter.from_texts(texts))
        assert len(found) + filtered == 4
        return len(found)

    assert kept() == 4
    assert kept("team=cards") == 2
    assert kept("team=cards", "stage!=test") == 1
    assert kept('{"orAll": [{"equals": {"team": "loans"}}, {"equals": {"stage": "live"}}]}') == 2
    assert kept('{"andAll": [{"equals": {"team": "cards"}}, {"notEquals": {"stage": "live"}}]}') == 1


@pytest.mark.parametrize("text", ["team", "=x", '{"equals": {}}', '{"equal": {"a": "b"}}', "{"])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--where"):
        MetadataFilter.from_texts([text])


def test_places_without_logs_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError):
            InvocationLogs([str(path)])
