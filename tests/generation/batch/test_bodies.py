"""Bodies in batch files: read and answered as by the server, by the job's options where they say none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from outcrop.core.completions import Completion, Sampling
from outcrop.core.errors import UsageError
from outcrop.data.records import Message
from outcrop.generation.batch.bodies import CHAT, COMPLETIONS, body_reader
from outcrop.generation.batch.questions import Question, Responder
from outcrop.models.rendering import Renderer
from tests.support.tiny import tiny_tokenizer

JOB = Sampling(max_new_tokens=32, repetition_penalty=1.5, stop_strings=("job",))
RESPONDER = Responder("bundled:x", 1700000000, Renderer(tiny_tokenizer()), JOB)
ANSWER = Completion("Lima", (5, 6), (-0.1, -0.2), "stop", 7, 0.0)
CUT = Completion("Lima is", (5, 6, 7), (-0.1, -0.2, -0.3), "length", 7, 0.0)
TURNS = (Message("system", "Be brief."), Message("user", "Capital of Peru?"))
BLOCKS = {"messages": [{"role": "user", "content": [{"text": "Capital of Peru?"}]}], "system": [{"text": "Be brief."}]}
PLAIN = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of Peru?"}]}
CLAUDE = {
    "anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "system": "Be brief.",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Capital of Peru?"}]}],
}  # fmt: skip


def asked(body: dict[str, Any], kind: str = "InvokeModel", foundation: str = "") -> Question:
    return body_reader(replace(RESPONDER, foundation=foundation))(kind, body)


def sampling(question: Question) -> Sampling:
    return Sampling(**question.sampling)


@pytest.mark.parametrize(
    ("kind", "body", "given", "n"),
    [
        ("InvokeModel", {"prompt": "P", "max_gen_len": 9, "temperature": 0.5, "top_p": 0.9},
         {"max_new_tokens": 9, "temperature": 0.5, "top_p": 0.9}, 1),
        ("InvokeModel", {"prompt": "P", "max_tokens": 9, "stop": ["a", "b"], "top_k": 4},
         {"max_new_tokens": 9, "stop_strings": ("a", "b"), "top_k": 4}, 1),
        ("InvokeModel", {"inputText": "P", "textGenerationConfig": {"maxTokenCount": 9, "stopSequences": ["x"]}},
         {"max_new_tokens": 9, "stop_strings": ("x",)}, 1),
        ("InvokeModel", {"inputText": "P"}, {}, 1),
        (COMPLETIONS, {"model": "m", "prompt": "P", "max_tokens": 9, "seed": 3, "n": 2, "stop": "x", "stream": False},
         {"max_new_tokens": 9, "seed": 3, "stop_strings": ("x",)}, 2),
    ],
)  # fmt: skip
def test_what_a_body_leaves_open_is_the_jobs(kind: str, body: dict[str, Any], given: dict[str, Any], n: int) -> None:
    question = asked(body, kind)
    assert (question.prompt, sampling(question), question.n) == ("P", replace(JOB, **given), n)
    assert ("seed" in question.sampling) == ("seed" in body)


@pytest.mark.parametrize(
    ("kind", "body", "given"),
    [
        ("InvokeModel", BLOCKS, {}),
        ("InvokeModel", BLOCKS | {"schemaVersion": "messages-v1", "inferenceConfig": {"max_new_tokens": 9}},
         {"max_new_tokens": 9}),
        ("Converse", BLOCKS | {"inferenceConfig": {"maxTokens": 9, "topP": 0.5}, "modelId": "m"},
         {"max_new_tokens": 9, "top_p": 0.5}),
        ("InvokeModel", CLAUDE, {"max_new_tokens": 9}),
        ("InvokeModel", PLAIN | {"max_tokens": 9}, {"max_new_tokens": 9}),
        (CHAT, PLAIN | {"model": "m", "max_completion_tokens": 9, "temperature": None, "user": "u"},
         {"max_new_tokens": 9}),
    ],
)  # fmt: skip
def test_messages_are_turns(kind: str, body: dict[str, Any], given: dict[str, Any]) -> None:
    question = asked(body, kind)
    assert (question.prompt, sampling(question)) == (TURNS, replace(JOB, **given))


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("InvokeModel", {"prompt": ""}, "prompt"),
        ("InvokeModel", {"prompt": "P", "max_gen_length": 9}, "did you mean max_gen_len"),
        ("InvokeModel", {"prompt": "P", "max_gen_len": 9, "max_tokens": 9}, "max_gen_len"),
        ("InvokeModel", {"inputText": "P", "temperature": 1}, "temperature"),
        ("Converse", BLOCKS | {"toolConfig": {"tools": []}}, "toolConfig"),
        ("Converse", {"messages": [{"role": "user", "content": [{"image": {}}]}]}, "image"),
        ("InvokeModel", {"messages": []}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}, "assistant's"),
        (CHAT, PLAIN | {"tools": [{}]}, "tools"),
        (CHAT, PLAIN | {"stream": True}, "stream is true"),
        (CHAT, PLAIN | {"n": 0}, "n"),
        (CHAT, {"prompt": "P"}, "prompt"),
        (COMPLETIONS, {"prompt": [5, 6]}, "token ids"),
        (COMPLETIONS, {"prompt": ["P", "Q"]}, "one prompt"),
        (COMPLETIONS, {"prompt": "P", "echo": True}, "echo is true"),
        ("/v1/embeddings", {"input": "P"}, "Requests to /v1/embeddings are not answered"),
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused(kind: str, body: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        asked(body, kind)


def test_answers_have_the_form_of_the_request() -> None:
    assert asked({"prompt": "P"}).write([ANSWER], "abc") == {
        "generation": "Lima", "prompt_token_count": 7, "generation_token_count": 2, "stop_reason": "stop",
        "logprobs": None,
    }  # fmt: skip
    body = {"inputText": "P", "textGenerationConfig": {"maxTokenCount": 3}}
    assert asked(body).write([CUT], "abc")["results"][0]["completionReason"] == "LENGTH"
    assert asked(BLOCKS, "Converse").write([ANSWER], "abc") == {
        "output": {"message": {"role": "assistant", "content": [{"text": "Lima"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9},
    }
    message = asked(CLAUDE).write([CUT], "abc")
    assert (message["id"], message["model"]) == ("msg_abc", "bundled:x")
    assert message["stop_reason"] == "model_context_window_exceeded"
    chat = asked(PLAIN | {"n": 2}, CHAT).write([ANSWER, CUT], "abc")
    assert (chat["id"], chat["created"], chat["model"]) == ("chatcmpl-abc", 1700000000, "bundled:x")
    assert [choice["message"]["content"] for choice in chat["choices"]] == ["Lima", "Lima is"]
    assert chat["usage"]["total_tokens"] == 12
    completion = asked({"prompt": "P", "max_tokens": 3}, COMPLETIONS).write([CUT], "abc")
    assert completion["choices"] == [{"index": 0, "text": "Lima is", "logprobs": None, "finish_reason": "length"}]


def test_bodies_have_the_format_of_the_foundation_model() -> None:
    question = asked({"prompt": "P", "max_tokens": 3}, foundation="mistral.m-v1:0")
    assert question.write([ANSWER], "abc") == {"outputs": [{"text": "Lima", "stop_reason": "stop"}]}
    with pytest.raises(UsageError, match="inputText"):
        asked({"prompt": "P"}, foundation="amazon.titan-text-x")


def test_answers_tell_probabilities_and_stop_strings() -> None:
    body = CLAUDE | {"stop_sequences": ["s"]}
    [token] = tiny_tokenizer().encode("s")
    message = asked(body).write([replace(ANSWER, token_ids=(5, token))], "abc")
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "s")
    ended = replace(ANSWER, token_ids=(5, 6, 2), logprobs=(-0.1, -0.2, -0.3))
    chat = asked(PLAIN | {"logprobs": True}, CHAT).write([ended], "abc")
    assert [each["logprob"] for each in chat["choices"][0]["logprobs"]["content"]] == [-0.1, -0.2]
