"""Converse as pure functions: every member is honoured or refused; results have the documented form."""

from __future__ import annotations

from typing import Any

import pytest

from outcrop.bodies.asks import WHOLE_CONTEXT, Answer, Ask, Ending
from outcrop.core.completions import Constraint, Sampling
from outcrop.core.engines import Usage
from outcrop.core.errors import UsageError
from outcrop.data.records import Message
from outcrop.service.bedrock.runtime import converse

HI = {"role": "user", "content": [{"text": "Hi"}]}
MINIMAL: dict[str, Any] = {"modelId": "m", "messages": [HI]}


def test_a_request_that_says_nothing_is_answered_as_generate_answers() -> None:
    assert converse.read(MINIMAL).ask == Ask((Message("user", "Hi"),), Sampling(WHOLE_CONTEXT))


def test_a_family_has_its_own_defaults_but_no_shorter_answers() -> None:
    ask = converse.read(MINIMAL, Sampling(512, 0.5, 0, 0.9)).ask
    assert ask.sampling == Sampling(WHOLE_CONTEXT, 0.5, 0, 0.9)


def test_every_member_is_honoured() -> None:
    request = converse.read(
        MINIMAL
        | {
            "system": [{"text": "s"}, {"text": "t"}, {"cachePoint": {"type": "default"}}],
            "messages": [
                {"role": "user", "content": [{"text": "a"}, {"text": "b"}, {"cachePoint": {"type": "default"}}]},
                {"role": "assistant", "content": [{"text": "c"}]},
                HI,
            ],
            "inferenceConfig": {"maxTokens": 5, "temperature": 0.5, "topP": 0.0, "stopSequences": ["x"]},
            "additionalModelRequestFields": {
                "inferenceConfig": {"topK": 4}, "seed": 7, "min_p": 0.1, "repetition_penalty": 1.2
            },
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
            "requestMetadata": {"project": "one"},
            "performanceConfig": {"latency": "standard"},
            "serviceTier": {"type": "default"},
            "outputConfig": {
                "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": '{"type": "object"}'}}}
            },
        }
    )  # fmt: skip
    turns = (
        Message("system", "s\nt"), Message("user", "a\nb"), Message("assistant", "c"), Message("user", "Hi")
    )  # fmt: skip
    sampling = Sampling(
        5, 0.5, 1, 1.0, stop_strings=("x",), min_p=0.1, repetition_penalty=1.2,
        constraint=Constraint("json_schema", '{"type": "object"}'),
    )  # fmt: skip
    assert request.ask == Ask(turns, sampling, seed=7)
    assert request.paths == ("/stop_sequence",)
    assert request.metadata == {"project": "one"}
    assert request.caches
    assert request.echoed == {"performanceConfig": {"latency": "standard"}, "serviceTier": {"type": "default"}}


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"toolConfig": {"tools": [{}]}}, "toolConfig is not supported"),
        ({"guardrailConfig": {"guardrailIdentifier": "g"}}, "guardrailConfig is not supported"),
        ({"promptVariables": {"a": {"text": "b"}}}, "promptVariables is not supported"),
        ({"projectIdentifier": "p"}, "projectIdentifier is not supported"),
        ({"outputConfig": {"effort": "high"}}, "outputConfig.effort is not supported"),
        ({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {}}}}, "has no schema"),
        ({"performanceConfig": {"latency": "optimized"}}, "performanceConfig.latency is 'optimized'"),
        ({"serviceTier": {"type": "flex"}}, "serviceTier.type is 'flex'"),
        ({"additionalModelRequestFields": {"thinking": {}}}, "[thinking] is not permitted"),
        ({"additionalModelRequestFields": {"top_k": 1, "topK": 1}}, "are the same field"),
        ({"additionalModelRequestFields": [1]}, "Give an object"),
        ({"additionalModelResponseFieldPaths": ["x"]}, "no JSON pointer"),
        ({"messages": []}, "must start with a user message"),
        ({"messages": [HI, HI]}, "must alternate"),
        ({"messages": [{"role": "system", "content": [{"text": "x"}]}, HI]}, "has the role system"),
        ({"messages": [{"role": "user", "content": [{"text": " "}]}]}, "is blank"),
        ({"messages": [{"role": "user", "content": [{"image": {}}]}]}, "Content block 0 is image"),
        ({"messages": [{"role": "user", "content": [{"toolResult": {}}]}]}, "Content block 0 is toolResult"),
        ({"system": [{"guardContent": {}}]}, "Content block 0 is guardContent"),
    ],
)
def test_what_cannot_be_honoured_is_refused(members: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        converse.read(MINIMAL | members)
    assert sentence in str(caught.value)


def test_every_member_of_the_operation_is_known_here() -> None:
    from outcrop.service.bedrock.model import RUNTIME, operation

    honoured = {
        "modelId", "messages", "system", "inferenceConfig", "additionalModelRequestFields", "requestMetadata",
        "additionalModelResponseFieldPaths", "performanceConfig", "serviceTier", "outputConfig",
    }  # fmt: skip
    for name in ("Converse", "ConverseStream"):
        members = set(operation(RUNTIME, name).input.members)
        assert members == honoured | set(converse.UNSUPPORTED)


def _answer(cached: int = 0) -> Answer:
    return Answer("Yes.", (7, 8), (-0.5, -0.5), (), Ending("stop_string", "x", Usage(10, cached, 3)))


def test_results_show_what_was_asked_for() -> None:
    request = converse.read(MINIMAL | {"additionalModelResponseFieldPaths": ["/stop_sequence", "/usage/a~1b", "/none"]})
    native = {"stop_sequence": "x", "usage": {"a/b": 3}, "content": [1]}
    assert converse.result(_answer(), request, 12, native) == {
        "output": {"message": {"role": "assistant", "content": [{"text": "Yes."}]}},
        "stopReason": "stop_sequence",
        "usage": {"inputTokens": 10, "outputTokens": 3, "totalTokens": 13},
        "metrics": {"latencyMs": 12},
        "additionalModelResponseFields": {"stop_sequence": "x", "usage": {"a/b": 3}},
    }


def test_cache_points_are_answered_with_the_tokens_of_the_cache() -> None:
    spent = converse.usage(_answer(cached=4), caches=True)
    assert spent == {
        "inputTokens": 6, "outputTokens": 3, "totalTokens": 13, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 0
    }  # fmt: skip
    assert converse.usage(_answer(cached=4), caches=False)["inputTokens"] == 10
