"""Rows of any JSON, in every form: each gets an answer or an error in its place, and none fails the job."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outcrop.generation.batch.bodies import CHAT, COMPLETIONS
from tests.models.folders import write_model
from tests.support.batches import lines, run, write_rows

LEAVES = (
    "null", "true", "false", "0", "1", "-1", "3", "2", "0.5", "1e999", "-1e999", "1e300", "1e-320", "9" * 30, "9" * 400,
    "NaN", '""', '"the card"', '"</s>"', '"\\ud83d"', '"\\u0000"', '"user"', '"assistant"', '"system"', '"text"',
    '"json_object"', '"json_schema"',
)  # fmt: skip
NAMES = ("role", "content", "text", "type", "image", "json_schema", "schema", "name", "7", "x", "\ud83d")
TURNS = '[{"role": "user", "content": "the card"}]'
BLOCKS = '[{"role": "user", "content": [{"text": "the card"}]}]'
COUNT = 500
SHARED = ("max_tokens", "temperature", "top_p", "top_k", "stop", "x")
OPENAI = (
    *SHARED, "n", "seed", "logit_bias", "response_format", "min_p", "repetition_penalty", "logprobs", "top_logprobs",
    "stream", "structured_outputs", "presence_penalty", "model", "user",
)  # fmt: skip
NESTED = ("maxTokenCount", "topP", "stopSequences", "temperature", "maxTokens", "max_new_tokens", "topK")
FAMILIES: dict[str, tuple[dict[str, str], str, tuple[str, ...]]] = {
    "llama": ({"prompt": '"the card"'}, "", (*SHARED, "max_gen_len")),
    "titan": ({"inputText": '"the card"'}, "textGenerationConfig", ("x", "y")),
    "nova": ({"messages": BLOCKS}, "inferenceConfig", ("system", "schemaVersion", "x")),
    "claude": ({"messages": TURNS, "anthropic_version": '"x"', "max_tokens": "2"}, "", (*SHARED, "system", "metadata")),
    "chat": ({"messages": TURNS}, "", OPENAI),
    "completions": ({"prompt": '"the card"'}, "", (*OPENAI, "echo", "suffix", "best_of")),
}
"""What each family has at least, the field that holds its options, and other fields."""


def some_json(stream: random.Random, depth: int = 2) -> str:
    kind = stream.choice(["leaf", "leaf", "leaf", "list", "object"]) if depth else "leaf"
    if kind == "list":
        return f"[{', '.join(some_json(stream, depth - 1) for _ in range(stream.randint(0, 2)))}]"
    if kind == "object":
        return fields(stream, {}, NAMES, depth - 1)
    return stream.choice(LEAVES)


def fields(stream: random.Random, fixed: dict[str, str], names: Any, depth: int = 2) -> str:
    """An object of what is given, and of up to two more fields, which may take a given one's place."""
    found = fixed | {name: some_json(stream, depth) for name in stream.sample(names, stream.randint(0, 2))}
    return f"{{{', '.join(f'{json.dumps(name)}: {value}' for name, value in found.items())}}}"


def body(stream: random.Random, family: str) -> str:
    """A body of that family, most of the time a good one but for a field or two."""
    usual, inside, beside = FAMILIES[family]
    found = dict(usual)
    if inside:
        found[inside] = fields(stream, {}, NESTED)
    return fields(stream, found, [*usual, *beside])


def bedrock(stream: random.Random) -> str:
    family = stream.choice([*FAMILIES])
    return fields(stream, {"recordId": '"1"', "modelInput": body(stream, family)}, ("recordId", "x", "y"))


def openai(stream: random.Random) -> str:
    url, family = stream.choice([(CHAT, "chat"), (COMPLETIONS, "completions")])
    fixed = {"custom_id": '"1"', "url": json.dumps(url), "body": body(stream, family)}
    return fields(stream, fixed, ("custom_id", "method", "x", "y", "z"))


def plain(stream: random.Random) -> str:
    fixed = stream.choice([{"prompt": '"the card"'}, {"messages": TURNS}, {"text": '"the card"'}])
    return fields(stream, fixed, ("prompt", "messages", "completion", "answer", "x"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("make", "suffixes"),
    [(bedrock, [".out"]), (openai, [".output.jsonl", ".errors.jsonl"]), (plain, [".answers.jsonl"])],
    ids=["bedrock", "openai", "plain"],
)
@pytest.mark.parametrize("seed", range(2))
def test_no_row_fails_the_job(
    model: Path, tmp_path: Path, make: Callable[[random.Random], str], suffixes: list[str], seed: int
) -> None:
    stream = random.Random(seed)
    rows = write_rows(tmp_path / "rows.jsonl", [make(stream) for _ in range(COUNT)])
    result = run(model, rows, tmp_path / "out", sampling={"max_new_tokens": 2}, publish="rows")
    found = [line for suffix in suffixes for line in lines(tmp_path / "out" / f"rows.jsonl{suffix}")]
    assert (result.rows, len(found)) == (COUNT, COUNT)
    assert result.succeeded > 20
    assert result.failed > 20
    assert result.succeeded + result.failed == COUNT
