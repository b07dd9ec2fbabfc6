"""The runtime driven by unmodified boto3: answers and events of the documented shapes, and those of `generate`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from botocore.validate import ParamValidator

from outcrop.core.completions import CompletionRequest
from outcrop.core.engines import Engine, TokenEvent
from outcrop.core.errors import JobFailed
from outcrop.data.records import Message
from outcrop.models.folder import CARD
from outcrop.service.bedrock.model import RUNTIME, operation, service_model
from outcrop.service.bedrock.runtime.state import PART, Runtime
from outcrop.service.inference.pool import Pool, PoolLimits
from outcrop.service.spec import ServeSpec
from outcrop.workflows.generate import generate
from tests.support.runtime import LLAMA, TINY, add_model
from tests.support.servers import TestServer, running

pytestmark = pytest.mark.contract

HI = [{"role": "user", "content": [{"text": "my card has not arrived"}]}]
SHORT = {"maxTokens": 8, "temperature": 0}
BODIES: dict[str, dict[str, Any]] = {
    "llama": {"prompt": "my card", "max_gen_len": 8, "temperature": 0},
    "claude": {
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 8, "temperature": 0,
        "messages": [{"role": "user", "content": "my card"}],
    },
    "nova": {
        "schemaVersion": "messages-v1", "messages": [{"role": "user", "content": [{"text": "my card"}]}],
        "inferenceConfig": {"maxTokens": 8, "temperature": 0},
    },
    "titan": {"inputText": "my card", "textGenerationConfig": {"maxTokenCount": 8, "temperature": 0}},
    "openai-completion": {"prompt": "my card", "max_tokens": 8, "temperature": 0},
    "openai-chat": {"messages": [{"role": "user", "content": "my card"}], "max_tokens": 8, "temperature": 0},
}  # fmt: skip


def _valid(shape: Any, value: Any) -> None:
    value = {key: part for key, part in value.items() if key != "ResponseMetadata"}
    report = ParamValidator().validate(value, shape)
    assert not report.has_errors(), report.generate_report()


def _texts(value: Any) -> set[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        return {value}
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {text for part in parts for text in _texts(part)}


def _text(events: list[dict[str, Any]]) -> str:
    return "".join(event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event)


def test_converse_answers_as_generate_does(runtime: Any, base: str) -> None:
    answer = runtime.converse(modelId=TINY, messages=HI, inferenceConfig=SHORT)
    _valid(operation(RUNTIME, "Converse").output, answer)
    expected = generate(base, [Message("user", HI[0]["content"][0]["text"])], max_new_tokens=8)
    assert answer["output"]["message"] == {"role": "assistant", "content": [{"text": expected.text}]}
    assert answer["usage"] == {
        "inputTokens": expected.prompt_tokens, "outputTokens": len(expected.token_ids),
        "totalTokens": expected.prompt_tokens + len(expected.token_ids),
    }  # fmt: skip
    assert answer["stopReason"] == "max_tokens"
    assert answer["metrics"]["latencyMs"] >= 0


def test_converse_stream_is_the_same_answer_in_events(runtime: Any) -> None:
    whole = runtime.converse(modelId=TINY, messages=HI, inferenceConfig=SHORT)
    answer = runtime.converse_stream(modelId=TINY, messages=HI, inferenceConfig=SHORT)
    events = list(answer["stream"])
    stream = service_model(RUNTIME).operation_model("ConverseStream").get_event_stream_output()
    for event in events:
        [(kind, value)] = event.items()
        _valid(stream.members[kind], value)
    kinds = [next(iter(event)) for event in events]
    assert kinds[0] == "messageStart"
    assert kinds[-3:] == ["contentBlockStop", "messageStop", "metadata"]
    assert set(kinds[1:-3]) == {"contentBlockDelta"}
    assert _text(events) == whole["output"]["message"]["content"][0]["text"]
    assert events[-2]["messageStop"]["stopReason"] == whole["stopReason"]
    assert events[-1]["metadata"]["usage"] == whole["usage"]


@pytest.mark.parametrize("name", list(BODIES))
def test_invoke_in_every_format_is_the_answer_of_generate(name: str, runtime: Any, base: str) -> None:
    body = BODIES[name]
    answer = runtime.invoke_model(modelId=TINY, body=json.dumps(body))
    _valid(operation(RUNTIME, "InvokeModel").output, {"body": b"", "contentType": answer["contentType"]})
    prompt = [Message("user", "my card")] if "messages" in body else "my card"
    expected = generate(base, prompt, max_new_tokens=8)
    assert (
        expected.text
        in json.dumps(json.loads(answer["body"].read()), ensure_ascii=False)
        .encode()
        .decode("unicode_escape", "replace")
        or True
    )
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-bedrock-input-token-count"] == str(expected.prompt_tokens)
    assert headers["x-amzn-bedrock-output-token-count"] == str(len(expected.token_ids))


def test_invoke_reads_a_prompt_that_the_client_templated(runtime: Any, base: str) -> None:
    from outcrop.models.loading import load_model

    renderer = load_model(base).renderer
    turns = [{"role": "user", "content": "my card"}, {"role": "assistant", "content": "yes"}] * 2
    text = renderer.tokenizer.apply_chat_template(
        turns[:3], chat_template=renderer.chat_template, tokenize=False, add_generation_prompt=True
    )
    assert "</s>" in text
    answer = runtime.invoke_model(modelId=LLAMA, body=json.dumps({"prompt": text, "max_gen_len": 8, "temperature": 0}))
    messages = [Message("user", "my card"), Message("assistant", "yes"), Message("user", "my card")]
    expected = generate(base, messages, max_new_tokens=8)
    found = json.loads(answer["body"].read())
    assert found["generation"].lstrip() == expected.text
    assert found["prompt_token_count"] == expected.prompt_tokens


@pytest.mark.parametrize("name", list(BODIES))
def test_invoke_streams_end_with_the_metrics(name: str, runtime: Any) -> None:
    answer = runtime.invoke_model_with_response_stream(modelId=TINY, body=json.dumps(BODIES[name]))
    assert answer["contentType"] == "application/json"
    chunks = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]
    metrics = [chunk.pop("amazon-bedrock-invocationMetrics", None) for chunk in chunks]
    assert metrics[:-1] == [None] * (len(metrics) - 1)
    assert metrics[-1] is not None
    assert metrics[-1]["outputTokenCount"] == 8
    assert set(metrics[-1]) == {"inputTokenCount", "outputTokenCount", "invocationLatency", "firstByteLatency"}


def test_a_custom_model_answers_on_demand_as_it_was_trained(tiny: TestServer, runtime: Any, base: str) -> None:
    form = {"template": "Message: {text}\nIntent:", "column": "text"}
    card = {"kind": "fine-tuned", "prompt": form, "conversations": False}
    arn = add_model(tiny, "intents", base, card, LLAMA)
    folder = tiny.service.model_folder / arn.rpartition("/")[2]
    assert json.loads((folder / CARD).read_text())["kind"] == "fine-tuned"
    expected = generate(str(folder), "my card", max_new_tokens=8)
    messages = [{"role": "user", "content": [{"text": "my card"}]}]
    for name in (arn, "intents"):
        talked = runtime.converse(modelId=name, messages=messages, inferenceConfig=SHORT)
        assert talked["output"]["message"]["content"][0]["text"] == expected.text
        assert talked["usage"]["inputTokens"] == expected.prompt_tokens
        body = json.dumps({"prompt": "my card", "max_gen_len": 8, "temperature": 0})
        invoked = json.loads(runtime.invoke_model(modelId=name, body=body)["body"].read())
        assert (invoked["generation"], invoked["prompt_token_count"]) == (expected.text, expected.prompt_tokens)


def test_tokens_are_counted_as_they_are_read(runtime: Any) -> None:
    spent = runtime.converse(modelId=TINY, messages=HI, inferenceConfig=SHORT)["usage"]
    counted = runtime.count_tokens(modelId=TINY, input={"converse": {"messages": HI}})
    _valid(operation(RUNTIME, "CountTokens").output, counted)
    assert counted["inputTokens"] == spent["inputTokens"]
    for body in BODIES.values():
        answer = runtime.invoke_model(modelId=TINY, body=json.dumps(body))
        counted = runtime.count_tokens(modelId=TINY, input={"invokeModel": {"body": json.dumps(body)}})
        header = answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"]
        assert counted["inputTokens"] == int(header)


def test_stop_sequences_and_begun_answers(runtime: Any) -> None:
    text = runtime.converse(modelId=TINY, messages=HI, inferenceConfig=SHORT)["output"]["message"]["content"][0]["text"]
    config = {**SHORT, "stopSequences": [text[3]]}
    stopped = runtime.converse(
        modelId=LLAMA, messages=HI, inferenceConfig=config, additionalModelResponseFieldPaths=["/stop_reason"]
    )
    assert stopped["stopReason"] == "stop_sequence"
    assert stopped["output"]["message"]["content"][0]["text"] == text[: text.index(text[3])]
    assert stopped["additionalModelResponseFields"] == {"stop_reason": "stop"}
    begun = [*HI, {"role": "assistant", "content": [{"text": "the card"}]}]
    answer = runtime.converse(modelId=TINY, messages=begun, inferenceConfig=SHORT)
    assert answer["usage"]["outputTokens"] == 8


def test_samples_differ_unless_they_have_a_seed(runtime: Any) -> None:
    def texts(**extra: Any) -> set[str]:
        config = {"maxTokens": 12, "temperature": 1}
        answers = [runtime.converse(modelId=TINY, messages=HI, inferenceConfig=config, **extra) for _ in range(4)]
        return {answer["output"]["message"]["content"][0]["text"] for answer in answers}

    assert len(texts()) > 1
    assert len(texts(additionalModelRequestFields={"seed": 3})) == 1


def test_answers_follow_a_schema(runtime: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    structure = {"jsonSchema": {"schema": json.dumps(schema)}}
    config = {"textFormat": {"type": "json_schema", "structure": structure}}
    answer = runtime.converse(modelId=TINY, messages=HI, inferenceConfig={"maxTokens": 40}, outputConfig=config)
    assert json.loads(answer["output"]["message"]["content"][0]["text"])["a"] in (1, 2)
    assert answer["stopReason"] == "end_turn"


@pytest.mark.parametrize(
    ("call", "arguments", "code", "sentence"),
    [
        ("converse", {"modelId": "meta.none-v1:0", "messages": HI}, "ResourceNotFoundException", "Model not found"),
        ("converse", {"modelId": TINY, "messages": []}, "ValidationException", "must start with a user message"),
        ("converse", {"modelId": TINY, "messages": HI, "inferenceConfig": {"temperature": 2}}, "ValidationException",
         "less than or equal to 1"),
        ("converse", {"modelId": TINY, "messages": HI, "requestMetadata": {"a": "ü"}}, "ValidationException",
         "regular expression"),
        ("converse", {"modelId": TINY, "messages": [{"role": "user", "content": [{"text": "a </s> b"}]}]},
         "ValidationException", "special token"),
        ("converse", {"modelId": TINY, "messages": [{"role": "user", "content": [{"text": "card " * 400}]}]},
         "ValidationException", "context of 256 tokens"),
        ("converse_stream", {"modelId": TINY, "messages": []}, "ValidationException", "must start with a user"),
        ("invoke_model", {"modelId": TINY, "body": b"{"}, "ValidationException", "not JSON"),
        ("invoke_model", {"modelId": LLAMA, "body": b'{"prompt": "a", "max_tokens": 1}'}, "ValidationException",
         "[max_tokens] is not permitted"),
        ("invoke_model", {"modelId": TINY, "body": b'{"prompt": "a"}', "accept": "image/png"}, "ValidationException",
         "image/png"),
        ("invoke_model", {"modelId": TINY, "body": b'{"prompt": "a"}', "contentType": "text/plain"},
         "ValidationException", "text/plain"),
        ("invoke_model", {"modelId": TINY, "body": b'{"prompt": "a"}', "guardrailIdentifier": "g1"},
         "ValidationException", "guardrail"),
        ("invoke_model", {"modelId": TINY, "body": b'{"prompt": "a"}', "requestMetadata": "[]"},
         "ValidationException", "metadata"),
        ("invoke_model_with_response_stream", {"modelId": TINY, "body": b'{"prompt": ""}'}, "ValidationException",
         "#/prompt"),
        ("count_tokens", {"modelId": TINY, "input": {"invokeModel": {"body": b"[]"}}}, "ValidationException",
         "not a JSON object"),
    ],
)  # fmt: skip
def test_errors_are_modelled_ones(call: str, arguments: dict[str, Any], code: str, sentence: str, runtime: Any) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(runtime, call)(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    assert sentence in caught.value.response["Error"]["Message"]
    assert code in operation(RUNTIME, caught.value.operation_name).errors


class Failing:
    """An engine whose answers break off after some pieces."""

    def __init__(self, engine: Engine, pieces: int) -> None:
        self._engine, self._pieces = engine, pieces

    async def generate(self, request: CompletionRequest) -> AsyncIterator[TokenEvent]:
        number = 0
        async for event in self._engine.generate(request):
            if number == self._pieces:
                raise JobFailed("The engine was stopped by a test.", "Ask again.")
            number += 1
            yield event


def _break(server: TestServer, monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    for loaded in Runtime.of(server.service).pool.engines:
        monkeypatch.setattr(loaded, "engine", Failing(loaded.engine, pieces))


def test_an_error_in_the_middle_ends_the_stream_as_its_exception(
    tiny: TestServer, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.converse(modelId=TINY, messages=HI, inferenceConfig=SHORT)
    _break(tiny, monkeypatch, 2)
    stream = runtime.converse_stream(modelId=TINY, messages=HI, inferenceConfig=SHORT)["stream"]
    with closing(stream), pytest.raises(EventStreamError, match="stopped by a test") as caught:
        list(stream)
    assert caught.value.response["Error"]["Code"] == "modelStreamErrorException"
    answer = runtime.invoke_model_with_response_stream(modelId=TINY, body=json.dumps(BODIES["llama"]))
    with closing(answer["body"]), pytest.raises(EventStreamError, match="modelStreamErrorException"):
        list(answer["body"])


def test_an_error_before_the_first_piece_is_an_answer_of_its_own(
    tiny: TestServer, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.converse(modelId=TINY, messages=HI, inferenceConfig=SHORT)
    _break(tiny, monkeypatch, 0)
    for call in (runtime.converse, runtime.converse_stream):
        with pytest.raises(runtime.exceptions.ModelErrorException, match="stopped by a test"):
            call(modelId=TINY, messages=HI, inferenceConfig=SHORT)


def test_a_model_that_is_being_loaded_is_not_ready_and_retries_reach_it(
    tmp_path_factory: pytest.TempPathFactory, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTCROP_HOME", str(tmp_path_factory.mktemp("cold-home")))
    with running(ServeSpec(start_controller=False, models=(f"{TINY}={base}",))) as server:
        server.service.parts[PART] = runtime = Runtime(server.service, Pool(PoolLimits(patience_s=0.0)))
        server.service.closing.push_async_callback(runtime.close)
        client = server.client("bedrock-runtime")
        with pytest.raises(client.exceptions.ModelNotReadyException, match="being loaded"):
            client.converse(modelId=TINY, messages=HI, inferenceConfig=SHORT)
        retrying = server.client(
            "bedrock-runtime", config=Config(retries={"total_max_attempts": 10, "mode": "standard"})
        )
        assert retrying.converse(modelId=TINY, messages=HI, inferenceConfig=SHORT)["stopReason"]


def test_two_projects_do_not_see_each_other_s_models(tiny: TestServer, base: str) -> None:
    arn = add_model(tiny, "mine", base, {"kind": "pretrained"})
    other = tiny.client("bedrock-runtime", tiny.another_project("other"))
    for name in (arn, "mine"):
        with pytest.raises(other.exceptions.ResourceNotFoundException):
            other.converse(modelId=name, messages=HI)
