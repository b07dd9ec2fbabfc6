"""Bedrock's and OpenAI's batch files through a whole job: form, order, errors, counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.folders import write_model
from tests.support.batches import lines, run, write_rows


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


BEDROCK: list[dict[str, Any] | str] = [
    {"recordId": "CALL0000001", "modelInput": {"prompt": "the card", "max_gen_len": 4}},
    {"modelInput": {"inputText": "the fee"}, "kept": 1},
    {"recordId": "3", "modelInput": {"foo": 1}},
    {"recordId": "4"},
    "{broken",
    {"recordId": 6, "modelInput": {"prompt": "x"}},
    {"recordId": "CALL0000001", "modelInput": {"prompt": "<s>the </s>card", "max_gen_len": 4}},
]


@pytest.mark.contract
def test_bedrock_rows_keep_their_place_and_get_an_output_or_an_error(model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", BEDROCK)
    result = run(model, rows, tmp_path / "out")
    found = lines(tmp_path / "out" / "rows.jsonl.out")
    assert [set(line) - {"recordId", "modelInput", "kept"} for line in found] == [
        {"modelOutput"}, {"modelOutput"}, {"error"}, {"error"}, {"error"}, {"error"}, {"modelOutput"},
    ]  # fmt: skip
    assert [line["recordId"] for line in found if "recordId" in BEDROCK[found.index(line)]] == [
        "CALL0000001", "3", "4", 6, "CALL0000001",
    ]  # fmt: skip
    made = found[1]["recordId"]
    assert (len(made), made.isalnum(), found[1]["kept"]) == (11, True, 1)
    assert list(found[0]) == ["recordId", "modelInput", "modelOutput"]
    assert found[0]["modelInput"] == {"prompt": "the card", "max_gen_len": 4}
    assert found[0]["modelOutput"]["generation_token_count"] == 4
    assert all(line["error"]["errorCode"] == 400 and line["error"]["errorMessage"] for line in found[2:6])
    manifest = json.loads((tmp_path / "out" / "manifest.json.out").read_text())
    assert manifest == {
        "totalRecordCount": 7, "processedRecordCount": 7, "successRecordCount": 3, "errorRecordCount": 4,
        "inputTokenCount": result.prompt_tokens, "outputTokenCount": result.generated_tokens,
    }  # fmt: skip


def test_modelinput_may_be_the_body_of_converse(model: Path, tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 3}}
    rows = write_rows(tmp_path / "rows.jsonl", [{"modelInput": body}, {"modelInput": {"prompt": "hi"}}])
    run(model, rows, tmp_path / "out", invocation="Converse")
    first, second = lines(tmp_path / "out" / "rows.jsonl.out")
    assert first["modelOutput"]["usage"]["outputTokens"] <= 3
    assert "[prompt] is not permitted" in second["error"]["errorMessage"]


def openai(number: int, url: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": f"row-{number}", "method": "POST", "url": url, "body": body}


@pytest.mark.contract
def test_openai_rows_are_answered_in_one_file_and_refused_in_another(model: Path, tmp_path: Path) -> None:
    chat: dict[str, Any] = {"model": "other", "messages": [{"role": "user", "content": "hi"}]}
    rows = write_rows(
        tmp_path / "rows.jsonl",
        [
            openai(1, "/v1/chat/completions", **chat, max_tokens=3, n=2, temperature=2, seed=1),
            openai(2, "/v1/embeddings", input="x"),
            openai(3, "/v1/completions", prompt="the card", max_tokens=2),
            {**openai(4, "/v1/completions", prompt="x"), "method": "GET"},
            {"url": "/v1/completions", "custom_id": None, "body": {"prompt": "x"}},
        ],
    )
    result = run(model, rows, tmp_path / "out")
    assert result.files == ("rows.jsonl.errors.jsonl", "rows.jsonl.output.jsonl")
    answered = lines(tmp_path / "out" / "rows.jsonl.output.jsonl")
    refused = lines(tmp_path / "out" / "rows.jsonl.errors.jsonl")
    assert [line["custom_id"] for line in answered] == ["row-1", "row-3"]
    assert [line["custom_id"] for line in refused] == ["row-2", "row-4", None]
    for line in answered + refused:
        assert list(line) == ["id", "custom_id", "response", "error"]
        assert list(line["response"]) == ["status_code", "request_id", "body"]
    assert {line["response"]["status_code"] for line in answered} == {200}
    assert {line["response"]["status_code"] for line in refused} == {400}
    texts = [choice["message"]["content"] for choice in answered[0]["response"]["body"]["choices"]]
    assert len(set(texts)) == 2
    assert answered[0]["response"]["body"]["model"] == str(model)
    assert refused[1]["response"]["body"]["error"]["message"].startswith("method is 'GET'")
    assert not (tmp_path / "out" / "manifest.json.out").exists()


def test_answers_have_the_form_that_a_row_asks_for(model: Path, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema | {"additionalProperties": False}}}
    broken = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}
    rows = [
        openai(number, "/v1/completions", prompt="the card", max_tokens=40, response_format=form)
        for number, form in enumerate([asked, broken, {"type": "text"}])
    ]
    result = run(model, write_rows(tmp_path / "rows.jsonl", rows), tmp_path / "out")
    assert (result.succeeded, result.failed) == (2, 1)
    formed, _ = lines(tmp_path / "out" / "rows.jsonl.output.jsonl")
    assert json.loads(formed["response"]["body"]["choices"][0]["text"])["ok"] in (True, False)
    [refused] = lines(tmp_path / "out" / "rows.jsonl.errors.jsonl")
    assert "json_schema cannot be followed" in refused["response"]["body"]["error"]["message"]


def test_a_foundation_model_decides_the_form_of_bodies(model: Path, tmp_path: Path) -> None:
    bodies = [{"prompt": "the card", "max_tokens": 3}, {"inputText": "the card"}]
    rows = write_rows(tmp_path / "rows.jsonl", [{"modelInput": body} for body in bodies])
    run(model, rows, tmp_path / "out", foundation="mistral.x-v1:0")
    first, second = lines(tmp_path / "out" / "rows.jsonl.out")
    assert list(first["modelOutput"]) == ["outputs"]
    assert "[inputText] is not permitted" in second["error"]["errorMessage"]
