"""Answers that were published are given by the service, in every API, without a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outcrop.service.bedrock.runtime.state import PART, Runtime
from outcrop.service.inference.pool import Pool, PoolLimits
from outcrop.service.inference.published import Published
from outcrop.store.lookups import PUBLISHED, LookupTable, table_path
from tests.support.batches import run, write_rows
from tests.support.runtime import TINY
from tests.support.servers import TestServer

pytestmark = pytest.mark.contract

SHORT = {"maxTokens": 6, "temperature": 0}


def turns(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"text": text}]}]


@pytest.fixture
def table(tiny: TestServer, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Answers to a conversation and to a prompt."""
    monkeypatch.setenv("OUTCROP_HOME", str(tiny.service.home))
    rows = [{"messages": [{"role": "user", "content": "the card"}]}]
    run(base, write_rows(tmp_path / "turns.jsonl", rows), tmp_path / "turns", publish="turns", cache=None)
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": "my money"}])
    run(base, prompts, tmp_path / "prompts", publish="prompts", cache=None)
    yield tiny.service.home / PUBLISHED
    shutil.rmtree(tiny.service.home / PUBLISHED)


def hits(folder: Path, name: str) -> tuple[int, int]:
    with LookupTable(table_path(folder, name)) as table:
        summary = table.summary()
    return summary.exact_hits, summary.normalised_hits


def test_a_published_answer_is_the_model_s_own_in_every_api(
    tiny: TestServer, runtime: Any, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def text_of(answer: dict[str, Any]) -> str:
        return str(answer["output"]["message"]["content"][0]["text"])

    with monkeypatch.context() as patch:
        patch.setattr(Runtime.of(tiny.service), "published", None)
        computed = runtime.converse(modelId=TINY, messages=turns("the card"), inferenceConfig=SHORT)
    assert hits(table, "turns") == (0, 0)
    found = runtime.converse(modelId=TINY, messages=turns("the card"), inferenceConfig=SHORT)
    assert hits(table, "turns") == (1, 0)
    assert text_of(found) == text_of(computed)
    assert found["stopReason"] == computed["stopReason"]
    assert found["usage"]["outputTokens"] == computed["usage"]["outputTokens"]
    stream = runtime.converse_stream(modelId=TINY, messages=turns("The  CARD"), inferenceConfig=SHORT)["stream"]
    pieces = [event["contentBlockDelta"]["delta"]["text"] for event in stream if "contentBlockDelta" in event]
    assert "".join(pieces) == text_of(computed)
    assert hits(table, "turns") == (1, 1)
    body = json.dumps({"prompt": "my money", "max_gen_len": 6, "temperature": 0})
    assert json.loads(runtime.invoke_model(modelId=TINY, body=body)["body"].read())["generation"] is not None
    assert hits(table, "prompts") == (1, 0)


def test_what_is_asked_otherwise_is_computed(runtime: Any, table: Path) -> None:
    for messages, config in (
        (turns("another card"), SHORT), (turns("the card"), {"maxTokens": 5, "temperature": 0}),
        (turns("the card"), {"maxTokens": 6, "temperature": 1}),
        ([*turns("the card"), {"role": "assistant", "content": [{"text": "so"}]}], SHORT),
    ):  # fmt: skip
        runtime.converse(modelId=TINY, messages=messages, inferenceConfig=config)
    assert hits(table, "turns") == (0, 0)


def test_no_model_is_needed_for_it(
    tiny: TestServer, runtime: Any, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool without memory loads nothing."""
    empty = Runtime(tiny.service, Pool(PoolLimits(memory_bytes=1)))
    empty.published = Published(table)
    monkeypatch.setitem(tiny.service.parts, PART, empty)
    assert runtime.converse(modelId=TINY, messages=turns("the card"), inferenceConfig=SHORT)["usage"]
    with pytest.raises(runtime.exceptions.ClientError):
        runtime.converse(modelId=TINY, messages=turns("another card"), inferenceConfig=SHORT)
    empty.published.close()
