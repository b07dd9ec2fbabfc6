"""OpenAI's API by its own client: the same answers as elsewhere, every field honoured or refused."""

from __future__ import annotations

import json
import math
from typing import Any

import openai
import pytest

from outcrop.data.records import Message
from outcrop.workflows.generate import generate
from tests.support.runtime import LLAMA, TINY, add_model
from tests.support.servers import TestServer

pytestmark = pytest.mark.contract

HI: Any = [{"role": "user", "content": "my card has not arrived"}]


@pytest.fixture
def client(tiny: TestServer) -> Any:
    with openai.OpenAI(base_url=f"{tiny.url}/v1", api_key=tiny.keys.bearer, max_retries=0) as client:
        yield client


def test_models_are_those_that_can_be_asked(tiny: TestServer, client: Any, base: str) -> None:
    add_model(tiny, "listed", base, {"kind": "pretrained"})
    names = {model.id for model in client.models.list()}
    assert {TINY, LLAMA, "outcrop.pebble-s-v1:0", "listed"} <= names
    assert client.models.retrieve("listed").id == "listed"
    with pytest.raises(openai.NotFoundError, match="Model not found"):
        client.models.retrieve("nobody")


def test_chats_answer_as_generate_does(client: Any, base: str) -> None:
    answer = client.chat.completions.create(model=TINY, messages=HI, max_tokens=8, temperature=0)
    expected = generate(base, [Message("user", HI[0]["content"])], max_new_tokens=8)
    assert answer.choices[0].message.content == expected.text
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.prompt_tokens == expected.prompt_tokens
    assert answer.usage.completion_tokens == len(expected.token_ids)
    stream = client.chat.completions.create(
        model=TINY, messages=HI, max_tokens=8, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected.text
    assert chunks[-1].usage.total_tokens == answer.usage.total_tokens


def test_several_answers_with_their_probabilities(client: Any) -> None:
    answer = client.chat.completions.create(
        model=TINY, messages=HI, max_tokens=4, temperature=1, n=3, seed=5, logprobs=True, top_logprobs=2
    )
    again = client.chat.completions.create(model=TINY, messages=HI, max_tokens=4, temperature=1, n=3, seed=5)
    assert [choice.message.content for choice in again.choices] == [c.message.content for c in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert 1 <= len(choice.logprobs.content) <= 4
        assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in choice.logprobs.content)


def test_answers_in_a_form(client: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}
    answer = client.chat.completions.create(model=TINY, messages=HI, max_tokens=40, temperature=0, response_format=form)
    assert json.loads(answer.choices[0].message.content)["a"] in (1, 2)
    chosen = client.chat.completions.create(
        model=TINY, messages=HI, max_tokens=20, extra_body={"structured_outputs": {"choice": ["yes", "no"]}}
    )
    assert chosen.choices[0].message.content in ("yes", "no")


def test_completions_of_texts_and_of_token_ids(client: Any, base: str) -> None:
    expected = generate(base, "my card", max_new_tokens=8)
    answer = client.completions.create(model=TINY, prompt=["my card", "why"], max_tokens=8, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].text == expected.text
    assert answer.usage.completion_tokens == 16
    by_ids = client.completions.create(model=TINY, prompt=[5, 6, 7], max_tokens=8, temperature=0)
    assert by_ids.usage.prompt_tokens == 3
    chunks = list(client.completions.create(model=TINY, prompt="my card", max_tokens=8, temperature=0, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == expected.text
    assert chunks[-1].choices[0].finish_reason == "length"


def test_echo_scores_the_prompt_as_the_model_does(client: Any) -> None:
    made = client.completions.create(model=TINY, prompt=[5, 6, 7], max_tokens=3, temperature=0, logprobs=0)
    whole = [5, 6, 7]
    scored = client.completions.create(model=TINY, prompt=whole, max_tokens=3, temperature=0, logprobs=0, echo=True)
    found = scored.choices[0].logprobs
    assert found.token_logprobs[0] is None
    assert all(math.isfinite(value) for value in found.token_logprobs[1:])
    assert found.token_logprobs[3:] == pytest.approx(made.choices[0].logprobs.token_logprobs, abs=1e-4)
    assert found.text_offset == [sum(map(len, found.tokens[:at])) for at in range(len(found.tokens))]
    assert "".join(found.tokens) == scored.choices[0].text
    alone = client.completions.create(model=TINY, prompt=whole, max_tokens=0, logprobs=0, echo=True)
    assert alone.choices[0].logprobs.token_logprobs == pytest.approx(found.token_logprobs[:3], abs=1e-4)
    assert alone.usage.completion_tokens == 0


@pytest.mark.parametrize(
    ("fields", "error", "sentence"),
    [
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            openai.BadRequestError,
            "[tools] is not supported",
        ),
        ({"frequency_penalty": 1}, openai.BadRequestError, "[frequency_penalty] is not supported"),
        ({"temperature": 3}, openai.BadRequestError, "#/temperature"),
        ({"extra_body": {"max_token": 3}}, openai.BadRequestError, "did you mean max_tokens"),
        ({"messages": []}, openai.BadRequestError, "#/messages"),
        ({"messages": [{"role": "user", "content": "a </s>"}]}, openai.BadRequestError, "special token"),
        ({"model": "nobody"}, openai.NotFoundError, "Model not found"),
    ],
)
def test_errors_are_openai_s(
    fields: dict[str, Any], error: type[openai.APIStatusError], sentence: str, client: Any
) -> None:
    arguments: dict[str, Any] = {"model": TINY, "messages": HI, "max_tokens": 2} | fields
    for stream in (False, True):
        with pytest.raises(error) as caught:
            client.chat.completions.create(**arguments, stream=stream)
        assert sentence in caught.value.message


def test_wrong_keys_are_refused_in_openai_s_form(tiny: TestServer) -> None:
    with openai.OpenAI(base_url=f"{tiny.url}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
        assert caught.value.code == "invalid_api_key"
