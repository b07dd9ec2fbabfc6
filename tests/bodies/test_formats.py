"""Bodies of InvokeModel: every documented field is honoured or refused, answers have the documented keys."""

from __future__ import annotations

from typing import Any

import pytest

from outcrop.bodies.asks import WHOLE_CONTEXT, Answer, Ask, Ending, EndReason, Piece, joined
from outcrop.bodies.bedrock.catalog import FORMATS, format_for
from outcrop.bodies.replies import Context
from outcrop.core.completions import Constraint, Sampling
from outcrop.core.engines import Usage
from outcrop.core.errors import UsageError
from outcrop.data.records import Message

USER = [{"role": "user", "content": [{"text": "Hi"}]}]
CHAT = [{"role": "user", "content": "Hi"}]
HI = (Message("user", "Hi"),)
OBJECT = Constraint("json_schema", '{"type": "object"}')
CLAUDE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": CHAT}

MINIMAL: dict[str, tuple[dict[str, Any], Ask]] = {
    "llama": ({"prompt": "Hi"}, Ask("Hi", Sampling(512, 0.5, 0, 0.9))),
    "claude": (CLAUDE, Ask(HI, Sampling(9, 1.0))),
    "nova": ({"messages": USER}, Ask(HI, Sampling(WHOLE_CONTEXT, 0.7, 0, 0.9))),
    "titan": ({"inputText": "Hi"}, Ask("Hi", Sampling(512, 0.7, 0, 0.9))),
    "mistral": ({"prompt": "Hi"}, Ask("Hi", Sampling(512, 0.5, 50, 0.9))),
    "bedrock-completion": ({"prompt": "Hi"}, Ask("Hi", Sampling(512, 0.5, 0, 0.9))),
    "openai-completion": ({"prompt": "Hi"}, Ask("Hi", Sampling(16, 1.0))),
    "openai-chat": ({"messages": CHAT}, Ask(HI, Sampling(WHOLE_CONTEXT, 1.0))),
}
"""The least that each format takes, and what it says: the documented defaults."""

FULL: dict[str, tuple[dict[str, Any], Ask]] = {
    "llama": (
        {"prompt": "<s>Hi", "temperature": 0, "top_p": 0.5, "max_gen_len": 7},
        Ask("<s>Hi", Sampling(7, 0.0, 0, 0.5)),
    ),
    "claude": (
        {
            **CLAUDE,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": "c"},
                {"role": "user", "content": "d"},
            ],
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "temperature": 0.3,
            "top_p": 0.2,
            "top_k": 5,
            "stop_sequences": ["x"],
        },
        Ask(
            (Message("system", "s"), Message("user", "a\nb"), Message("assistant", "c"), Message("user", "d")),
            Sampling(9, 0.3, 5, 0.2, stop_strings=("x",)),
        ),
    ),
    "nova": (
        {
            "schemaVersion": "messages-v1",
            "system": [{"text": "s"}],
            "messages": USER,
            "inferenceConfig": {
                "max_new_tokens": 4, "temperature": 0.1, "top_p": 0.4, "top_k": 3, "stopSequences": ["x"]
            },
        },
        Ask((Message("system", "s"), *HI), Sampling(4, 0.1, 3, 0.4, stop_strings=("x",))),
    ),
    "titan": (
        {
            "inputText": "Hi",
            "textGenerationConfig": {"temperature": 0, "topP": 0, "maxTokenCount": 3, "stopSequences": ["User:"]},
        },
        Ask("Hi", Sampling(3, 0.0, 1, 1.0, stop_strings=("User:",))),
    ),
    "mistral": (
        {"prompt": "Hi", "max_tokens": 3, "temperature": 1, "top_p": 1, "top_k": 0, "stop": ["x"]},
        Ask("Hi", Sampling(3, 1.0, 0, 1.0, stop_strings=("x",))),
    ),
    "bedrock-completion": (
        {
            "prompt": "Hi", "max_gen_len": 3, "temperature": 0, "top_p": 1, "top_k": 2, "stop": ["x"],
            "response_format": {"type": "json_object"},
        },
        Ask("Hi", Sampling(3, 0.0, 2, 1.0, stop_strings=("x",), constraint=OBJECT)),
    ),
    "openai-completion": (
        {
            "prompt": [5, 6], "max_tokens": 3, "temperature": 0, "top_p": 0.5, "top_k": -1, "n": 2, "stop": "x",
            "seed": 4, "logprobs": 2, "echo": True, "logit_bias": {"5": -100}, "min_p": 0.1,
            "repetition_penalty": 1.5, "structured_outputs": {"choice": ["a", "b"]}, "best_of": 2,
            "presence_penalty": 0, "stream_options": {"include_usage": True}, "suffix": None,
        },
        Ask(
            (5, 6),
            Sampling(
                3, 0.0, 0, 0.5, stop_strings=("x",), min_p=0.1, repetition_penalty=1.5, logit_bias=((5, -100.0),),
                top_logprobs=2, constraint=Constraint("choice", '["a", "b"]'),
            ),
            n=2, seed=4, logprobs=True, echo=True, include_usage=True,
        ),
    ),
    "openai-chat": (
        {
            "messages": [{"role": "developer", "content": "s"}, *CHAT], "max_completion_tokens": 3, "temperature": 2,
            "top_p": 1, "n": 1, "stop": ["x", "y"], "seed": -1, "logprobs": True, "top_logprobs": 3, "tools": [],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "string"}}},
            "store": False, "service_tier": "auto", "user": "someone",
        },
        Ask(
            (Message("system", "s"), *HI),
            Sampling(
                3, 2.0, stop_strings=("x", "y"), top_logprobs=3,
                constraint=Constraint("json_schema", '{"type": "string"}'),
            ),
            seed=-1, logprobs=True, user="someone",
        ),
    ),
}  # fmt: skip

WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "llama": (
        {"temperature": 2, "top_p": -1, "max_gen_len": 2049, "images": ["x"], "max_gen": 1},
        ["required key [prompt] not found", "#/temperature", "#/top_p", "#/max_gen_len", "[images] is not supported",
         "[max_gen] is not permitted; did you mean max_gen_len"],
    ),
    "claude": (
        {"messages": [{"role": "system", "content": "x"}], "tools": [{}], "thinking": {"type": "enabled"},
         "metadata": {}, "temperature": "0.5"},
        ["[anthropic_version] not found", "[max_tokens] not found", "#/messages/0/role", "[tools]", "[thinking]",
         "[metadata]", "#/temperature"],
    ),
    "nova": (
        {"messages": [{"role": "user", "content": [{"image": {}}]}], "toolConfig": {}, "schemaVersion": "v2",
         "inferenceConfig": {"maxToken": 3, "topK": 129}},
        ["[toolConfig]", "[image] is not permitted", "#/messages/0/content/0: required key [text]", "#/schemaVersion",
         "[maxToken] is not permitted; did you mean maxTokens", "#/inferenceConfig/topK"],
    ),
    "titan": (
        {"inputText": "", "textGenerationConfig": {"maxTokenCount": True, "topP": float("nan")}},
        ["#/inputText", "#/textGenerationConfig/maxTokenCount", "#/textGenerationConfig/topP"],
    ),
    "mistral": (
        {"prompt": 5, "max_tokens": 0, "stop": ["x"] * 11},
        ["#/prompt", "#/max_tokens", "#/stop"],
    ),
    "bedrock-completion": (
        {"prompt": "x", "response_format": {"type": "xml"}, "logprobs": 1},
        ["#/response_format/type", "[logprobs] is not permitted"],
    ),
    "openai-completion": (
        {"prompt": [[1], "a"], "n": 0, "suffix": "x", "frequency_penalty": 1, "grammar": "x"},
        ["#/prompt", "#/n", "[suffix]", "[frequency_penalty]", "[grammar]"],
    ),
    "openai-chat": (
        {"messages": [{"role": "tool", "content": "x"}, {"role": "user", "content": [{"type": "image_url"}]}],
         "tools": [{"type": "function"}], "audio": {}, "logit_bias": {"5": 101}},
        ["#/messages/0/role", "#/messages/1/content", "[tools]", "[audio]", "#/logit_bias/5"],
    ),
}  # fmt: skip

NOVA_STOPS = {"stop": "end_turn", "stop_string": "stop_sequence", "length": "max_tokens",
              "context": "model_context_window_exceeded"}  # fmt: skip


def test_every_format_of_the_catalog_is_tested() -> None:
    assert set(FORMATS) == set(MINIMAL) == set(FULL) == set(WRONG)


@pytest.mark.parametrize("name", list(FORMATS))
def test_defaults_are_the_documented_ones(name: str) -> None:
    body, expected = MINIMAL[name]
    ask = FORMATS.load(name).read(body)
    assert ask == expected
    defaults = FORMATS.load(name).defaults
    assert (defaults.temperature, defaults.top_p, defaults.top_k) == (
        ask.sampling.temperature, ask.sampling.top_p, ask.sampling.top_k
    )  # fmt: skip


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_field_is_honoured(name: str) -> None:
    body, expected = FULL[name]
    assert FORMATS.load(name).read(body) == expected


@pytest.mark.parametrize("name", list(FORMATS))
def test_all_that_is_wrong_is_said_at_once(name: str) -> None:
    body, sentences = WRONG[name]
    with pytest.raises(UsageError, match="Malformed input request") as caught:
        FORMATS.load(name).read(body)
    for sentence in sentences:
        assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("nova", {"messages": USER, "inferenceConfig": {"topP": 1, "top_p": 1}}, "topP and top_p are the same"),
        ("claude", CLAUDE | {"messages": [*CHAT, *CHAT]}, "must alternate"),
        ("claude", CLAUDE | {"messages": [{"role": "assistant", "content": "x"}]}, "must start with a user message"),
        ("claude", CLAUDE | {"messages": [{"role": "user", "content": " "}]}, "is blank"),
        ("openai-chat", {"messages": [*CHAT, {"role": "system", "content": "x"}]}, "system message comes later"),
        ("openai-chat", {"messages": CHAT, "top_logprobs": 1}, "needs logprobs"),
        ("openai-chat", {"messages": CHAT, "max_tokens": 1, "max_completion_tokens": 1}, "are the same"),
        ("openai-chat", {"messages": CHAT, "stream": True}, "the operation says"),
        ("openai-completion", {"prompt": ["a", "b"]}, "A request has one prompt"),
        ("openai-completion", {"prompt": "a", "max_tokens": 0}, "max_tokens is 0"),
        ("openai-completion", {"prompt": "a", "best_of": 2}, "[best_of] is not supported"),
        ("openai-completion", {"prompt": "a", "logit_bias": {"²": 1}}, "no token id"),
        ("openai-completion", {"prompt": "a", "logit_bias": {"x": 1}}, "no token id"),
        ("openai-completion", {"prompt": "a", "structured_outputs": {}}, "must be given once"),
        ("bedrock-completion", {"prompt": "a", "response_format": {"type": "json_schema"}}, "has no schema"),
    ],
)
def test_contradictions_are_refused(name: str, body: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        FORMATS.load(name).read(body)
    assert sentence in str(caught.value)


def _answer(reason: EndReason = "stop", stop: str | None = None) -> Answer:
    return Answer("Yes.", (7, 8), (-0.5, -0.25), (), Ending(reason, stop, Usage(3, 1, 3)))


def _context(name: str) -> Context:
    ask = FORMATS.load(name).read(FULL[name][0]) if name.startswith("openai") else Ask("Hi")
    texts = {5: "a", 6: "b", 7: "Yes", 8: "."}
    return Context("m", "id", 99, ask, (4, 5, 6), lambda ids: [texts.get(token, "?") for token in ids], (-1.0, -2.0))


@pytest.mark.parametrize("reason", list(NOVA_STOPS))
def test_whole_answers(reason: EndReason) -> None:
    answer = _answer(reason, "x" if reason == "stop_string" else None)

    def written(name: str) -> dict[str, Any]:
        return FORMATS.load(name).write([answer], _context(name))

    short = "stop" if reason.startswith("stop") else "length"
    llama = {"generation": "Yes.", "prompt_token_count": 3, "generation_token_count": 3, "stop_reason": short}
    assert written("llama") == llama
    assert written("bedrock-completion") == llama | {"logprobs": None}
    assert written("claude") == {
        "id": "msg_id", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "Yes."}], "stop_reason": NOVA_STOPS[reason],
        "stop_sequence": answer.ending.stop_string, "usage": {"input_tokens": 3, "output_tokens": 3},
    }  # fmt: skip
    assert written("nova") == {
        "output": {"message": {"role": "assistant", "content": [{"text": "Yes."}]}}, "stopReason": NOVA_STOPS[reason],
        "usage": {"inputTokens": 3, "outputTokens": 3, "totalTokens": 6},
    }  # fmt: skip
    titan = {"stop": "FINISH", "stop_string": "STOP_CRITERIA_MET"}.get(reason, "LENGTH")
    result = {"tokenCount": 3, "outputText": "Yes.", "completionReason": titan}
    assert written("titan") == {"inputTextTokenCount": 3, "results": [result]}
    assert written("mistral") == {"outputs": [{"text": "Yes.", "stop_reason": short}]}


def test_completions_answer_in_both_words_and_show_the_prompt() -> None:
    context = _context("openai-completion")
    context = context._replace(
        ask=FORMATS.load("openai-completion").read(FULL["openai-completion"][0] | {"n": 1, "best_of": 1})
    )
    assert FORMATS.load("openai-completion").write([_answer()], context) == {
        "id": "cmpl-id", "object": "text_completion", "created": 99, "model": "m",
        "choices": [{
            "index": 0, "text": "?abYes.", "finish_reason": "stop",
            "logprobs": {
                "tokens": ["?", "a", "b", "Yes", "."], "token_logprobs": [None, -1.0, -2.0, -0.5, -0.25],
                "top_logprobs": [None, None, None, {}, {}], "text_offset": [0, 1, 2, 3, 6],
            },
        }],
        "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6,
                  "prompt_tokens_details": {"cached_tokens": 1}},
        "generation": "Yes.", "prompt_token_count": 3, "generation_token_count": 3, "stop_reason": "stop",
    }  # fmt: skip


def test_chats_tell_log_probabilities() -> None:
    found = FORMATS.load("openai-chat").write([_answer("length")], _context("openai-chat"))
    assert found["object"] == "chat.completion"
    [choice] = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Yes.", "refusal": None}
    assert choice["finish_reason"] == "length"
    tokens = choice["logprobs"]["content"]
    assert [(token["token"], token["logprob"]) for token in tokens] == [("Yes", -0.5), (".", -0.25)]


PIECES = (
    Piece(0, "Yes", (7,), (-0.5,)),
    Piece(0, "", (9,), (-0.1,)),
    Piece(0, ".", (8,), (-0.25,), (), Ending("stop", None, Usage(3, 1, 4))),
)


@pytest.mark.parametrize("name", list(FORMATS))
def test_chunks_put_together_are_the_answer(name: str) -> None:
    context = _context(name)._replace(ask=Ask("Hi"))
    writer = FORMATS.load(name).stream(context)
    chunks = [*writer.begin(), *(chunk for piece in PIECES for chunk in writer.piece(piece))]
    assert "".join(_text(name, chunk) for chunk in chunks) == "Yes."
    again = FORMATS.load(name).stream(context)
    compact = [*again.begin(), *again.piece(joined(PIECES))]
    assert "".join(_text(name, chunk) for chunk in compact) == "Yes."
    assert _without_text(name, compact[-1]) == _without_text(name, chunks[-1]) or len(compact) == 1


def _text(name: str, chunk: dict[str, Any]) -> str:
    if name in ("llama", "bedrock-completion"):
        return str(chunk["generation"])
    if name == "claude":
        return str(chunk.get("delta", {}).get("text", ""))
    if name == "nova":
        return str(chunk.get("contentBlockDelta", {}).get("delta", {}).get("text", ""))
    if name == "titan":
        return str(chunk["outputText"])
    if name == "mistral":
        return str(chunk["outputs"][0]["text"])
    choice = chunk["choices"][0]
    return str(choice["text"] if name == "openai-completion" else choice["delta"].get("content", ""))


def _without_text(name: str, chunk: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in chunk.items() if key not in ("generation", "prompt_token_count", "outputText")}


def test_streams_begin_and_end_as_documented() -> None:
    def chunks(name: str) -> list[dict[str, Any]]:
        writer = FORMATS.load(name).stream(_context(name)._replace(ask=Ask("Hi", include_usage=True)))
        return [*writer.begin(), *(chunk for piece in PIECES for chunk in writer.piece(piece))]

    llama = chunks("llama")
    assert [chunk["prompt_token_count"] for chunk in llama] == [3, None, None]
    assert [chunk["generation_token_count"] for chunk in llama] == [1, 2, 4]
    assert [chunk["stop_reason"] for chunk in llama] == [None, None, "stop"]
    assert [chunk["type"] for chunk in chunks("claude")] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert [next(iter(chunk)) for chunk in chunks("nova")] == [
        "messageStart", "contentBlockDelta", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata",
    ]  # fmt: skip
    assert [chunk["totalOutputTextTokenCount"] for chunk in chunks("titan")] == [1, 2, 4]
    chat = chunks("openai-chat")
    assert chat[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chat[-2]["choices"][0]["finish_reason"] == "stop"
    assert (chat[-1]["choices"], chat[-1]["usage"]["completion_tokens"]) == ([], 4)
    assert chunks("openai-completion")[-1]["usage"]["total_tokens"] == 7


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        ("meta.llama3-1-8b-instruct-v1:0", {"messages": []}, "llama"),
        ("anthropic.claude-3-haiku-20240307-v1:0", {"prompt": ""}, "claude"),
        ("amazon.nova-micro-v1:0:128k", {}, "nova"),
        ("amazon.titan-text-lite-v1", {}, "titan"),
        ("mistral.mistral-7b-instruct-v0:2", {"prompt": ""}, "mistral"),
        ("mistral.mistral-large-2402-v1:0", {"messages": []}, "openai-chat"),
        ("qwen.qwen3-32b-v1:0", {}, "openai-chat"),
        ("", {"prompt": "", "max_gen_len": 1}, "bedrock-completion"),
        ("", {"prompt": ""}, "bedrock-completion"),
        ("", {"prompt": "", "max_tokens": 1}, "openai-completion"),
        ("", {"messages": [], "max_tokens": 1}, "openai-chat"),
        ("outcrop.pebble-s-v1:0", CLAUDE, "claude"),
        ("outcrop.pebble-s-v1:0", {"inputText": ""}, "titan"),
        ("outcrop.pebble-s-v1:0", {"messages": USER, "inferenceConfig": {}}, "nova"),
    ],
)
def test_the_model_or_else_the_body_decides_the_format(model: str, body: dict[str, Any], expected: str) -> None:
    assert format_for(model, body) == expected
