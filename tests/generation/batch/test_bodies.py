"""Bodies of Bedrock and OpenAI: what each family asks, what is refused, and the form of each response."""

from __future__ import annotations

from typing import Any

import pytest

from outcrop.core.completions import Completion
from outcrop.core.errors import UsageError
from outcrop.data.records import Conversation, Message
from outcrop.generation.batch.bodies import CHAT, COMPLETIONS, body_reader
from outcrop.generation.batch.questions import Question, Responder

READ = body_reader(Responder("bundled:x", 1700000000))
ANSWER = Completion("Lima", (5, 6), (-0.1, -0.2), "stop", 7, 0.0)
CUT = Completion("Lima is", (5, 6, 7), (-0.1, -0.2, -0.3), "length", 7, 0.0)
TURNS = (Message("system", "Be brief."), Message("user", "Capital of Peru?"))
BLOCKS = {"messages": [{"role": "user", "content": [{"text": "Capital of Peru?"}]}], "system": [{"text": "Be brief."}]}
PLAIN = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of Peru?"}]}
CLAUDE = {
    "anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "system": "Be brief.",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Capital of Peru?"}]}],
}  # fmt: skip


def asked(body: dict[str, Any], kind: str = "InvokeModel") -> Question:
    return READ(kind, body)


@pytest.mark.parametrize(
    ("kind", "body", "sampling", "n"),
    [
        ("InvokeModel", {"prompt": "P", "max_gen_len": 9, "temperature": 0.5, "top_p": 0.9},
         {"max_new_tokens": 9, "temperature": 0.5, "top_p": 0.9}, 1),
        ("InvokeModel", {"prompt": "P", "max_tokens": 9, "stop": ["a", "b"], "top_k": 4},
         {"max_new_tokens": 9, "stop_strings": ("a", "b"), "top_k": 4}, 1),
        ("InvokeModel", {"inputText": "P", "textGenerationConfig": {"maxTokenCount": 9, "stopSequences": ["x"]}},
         {"max_new_tokens": 9, "stop_strings": ("x",)}, 1),
        ("InvokeModel", {"inputText": "P"}, {}, 1),
        (COMPLETIONS, {"model": "m", "prompt": "P", "max_tokens": 9, "seed": 3, "n": 2, "stop": "x"},
         {"max_new_tokens": 9, "seed": 3, "stop_strings": ("x",)}, 2),
    ],
)  # fmt: skip
def test_prompts_are_taken_as_they_are(kind: str, body: dict[str, Any], sampling: dict[str, Any], n: int) -> None:
    question = asked(body, kind)
    assert (question.prompt, dict(question.sampling), question.n) == ("P", sampling, n)


@pytest.mark.parametrize(
    ("kind", "body", "sampling"),
    [
        ("InvokeModel", BLOCKS | {"schemaVersion": "messages-v1", "inferenceConfig": {"max_new_tokens": 9}},
         {"max_new_tokens": 9}),
        ("Converse", BLOCKS | {"inferenceConfig": {"maxTokens": 9, "topP": 0.5, "stopSequences": ["x"]}},
         {"max_new_tokens": 9, "top_p": 0.5, "stop_strings": ("x",)}),
        ("InvokeModel", CLAUDE, {"max_new_tokens": 9}),
        ("InvokeModel", PLAIN | {"max_tokens": 9}, {"max_new_tokens": 9}),
        (CHAT, PLAIN | {"model": "m", "max_completion_tokens": 9, "temperature": None, "user": "u"},
         {"max_new_tokens": 9}),
    ],
)  # fmt: skip
def test_messages_become_a_conversation(kind: str, body: dict[str, Any], sampling: dict[str, Any]) -> None:
    question = asked(body, kind)
    assert isinstance(question.prompt, Conversation)
    assert question.prompt.messages == TURNS
    assert dict(question.sampling) == sampling


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("InvokeModel", {"text": "P"}, "of no known family"),
        ("InvokeModel", {"prompt": ""}, "prompt is empty"),
        ("InvokeModel", {"prompt": 3}, "prompt is a number"),
        ("InvokeModel", {"prompt": "P", "max_gen_length": 9}, "Did you mean: max_gen_len"),
        ("InvokeModel", {"prompt": "P", "max_gen_len": 9, "max_tokens": 9}, "says again"),
        ("InvokeModel", {"prompt": "P", "max_gen_len": "9"}, "max_gen_len is '9'. Allowed: a whole number"),
        ("InvokeModel", {"prompt": "P", "top_k": 1.5}, "top_k is 1.5"),
        ("InvokeModel", {"prompt": "P", "temperature": True}, "temperature is True"),
        ("InvokeModel", {"prompt": "P", "stop": [1]}, "a list of texts"),
        ("InvokeModel", {"inputText": "P", "temperature": 1}, "temperature is not read"),
        ("Converse", BLOCKS | {"toolConfig": {}}, "toolConfig is not read"),
        ("Converse", PLAIN, "messages"),
        ("Converse", {"messages": [{"role": "user", "content": [{"image": {}}]}]}, "image"),
        ("InvokeModel", {"messages": []}, "an empty list"),
        (CHAT, {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}, "assistant's"),
        (CHAT, {"messages": [{"role": "robot", "content": "x"}]}, "role 'robot'"),
        (CHAT, PLAIN | {"tools": [{}]}, "tools is not read"),
        (CHAT, PLAIN | {"logprobs": True}, "logprobs is True"),
        (CHAT, PLAIN | {"presence_penalty": 1}, "presence_penalty is 1"),
        (CHAT, PLAIN | {"n": 0}, "n is 0"),
        (CHAT, {"prompt": "P"}, "prompt is not read"),
        ("/v1/embeddings", {"input": "P"}, "Requests to /v1/embeddings are not answered"),
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused(kind: str, body: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        asked(body, kind)


def written(body: dict[str, Any], answers: list[Completion], kind: str = "InvokeModel") -> dict[str, Any]:
    return asked(body, kind).write(answers, "abc")


@pytest.mark.contract
def test_responses_have_the_form_of_their_family() -> None:
    assert written({"prompt": "P"}, [ANSWER]) == {
        "generation": "Lima", "prompt_token_count": 7, "generation_token_count": 2, "stop_reason": "stop",
    }  # fmt: skip
    assert written({"inputText": "P"}, [CUT]) == {
        "inputTextTokenCount": 7,
        "results": [{"tokenCount": 3, "outputText": "Lima is", "completionReason": "LENGTH"}],
    }
    assert written(BLOCKS, [ANSWER], "Converse") == {
        "output": {"message": {"role": "assistant", "content": [{"text": "Lima"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9},
    }
    assert written(CLAUDE, [CUT]) == {
        "id": "msg_abc", "type": "message", "role": "assistant", "model": "bundled:x",
        "content": [{"type": "text", "text": "Lima is"}], "stop_reason": "max_tokens", "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 3},
    }  # fmt: skip
    assert written(PLAIN | {"n": 2}, [ANSWER, CUT], CHAT) == {
        "id": "chatcmpl-abc", "object": "chat.completion", "created": 1700000000, "model": "bundled:x",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Lima"}, "logprobs": None,
             "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": "Lima is"}, "logprobs": None,
             "finish_reason": "length"},
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }  # fmt: skip
    completion = written({"prompt": "P"}, [ANSWER], COMPLETIONS)
    assert completion["object"] == "text_completion"
    assert completion["choices"] == [{"index": 0, "text": "Lima", "logprobs": None, "finish_reason": "stop"}]
