"""`outcrop serve --engine vllm`, with vLLM or a stand-in: answers of both APIs, adapters, another model, its end."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import openai
import pytest
from botocore.config import Config

from outcrop.data.records import Message
from outcrop.generation.processes import engines_folder
from outcrop.workflows.generate import generate
from tests.generation.adapters import write_adapter
from tests.generation.serving_engines import SHAPE, VLLM_KINDS, name_vllm
from tests.models.folders import write_model
from tests.support.serving import start_server, told_by
from tests.support.tiny import tiny_model

OTHER, TUNED, TINY = "outcrop.other-v1:0", "outcrop.tuned-v1:0", "outcrop.tiny-v1:0"
HI = "my card has not arrived"
CHAT: Any = [{"role": "user", "content": HI}]
RETRIES = 30
"""A client asks again until vLLM has started."""


class Served(NamedTuple):
    """A server, what it told of itself, and the folders of its models."""

    process: subprocess.Popen[str]
    told: dict[str, Any]
    models: dict[str, str]


@pytest.fixture(params=VLLM_KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path: Path, outcrop_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    name_vllm(request.param, tmp_path, monkeypatch)
    base = write_model(tmp_path / "base", **SHAPE)
    tuned = write_adapter(tmp_path / "tuned", base, tiny_model(**SHAPE), seed=1)
    models = {OTHER: str(write_model(tmp_path / "other", 1, **SHAPE)), TUNED: tuned.name, TINY: str(base)}
    named = [word for name, folder in models.items() for word in ("--model", f"{name}={folder}")]
    process = start_server(["--port", "0", "--engine", "vllm", *named])
    yield Served(process, told_by(process), models)
    process.kill()
    process.communicate()


def test_models_are_answered_by_vllm(server: Served) -> None:
    told = server.told
    with openai.OpenAI(base_url=f"{told['url']}/v1", api_key=told["keys"]["bearer"], max_retries=RETRIES) as client:
        for name, folder in server.models.items():
            expected = generate(folder, [Message("user", HI)], max_new_tokens=8)
            answer = client.chat.completions.create(model=name, messages=CHAT, max_tokens=8, temperature=0)
            assert answer.choices[0].message.content == expected.text
            assert answer.usage is not None
            assert answer.usage.completion_tokens == len(expected.token_ids)
        stream = client.completions.create(model=TINY, prompt=HI, max_tokens=8, temperature=0, stream=True)
        text = "".join(chunk.choices[0].text for chunk in stream)
        assert text == generate(server.models[TINY], HI, max_new_tokens=8).text
        with pytest.raises(openai.BadRequestError, match="frequency_penalty"):
            client.chat.completions.create(model=TINY, messages=CHAT, frequency_penalty=1)
    runtime = boto3.client(
        "bedrock-runtime", endpoint_url=told["url"], region_name="us-east-1",
        aws_access_key_id=told["keys"]["access_key_id"], aws_secret_access_key=told["keys"]["secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip
    body = json.dumps({"prompt": HI, "max_gen_len": 8, "temperature": 0})
    found = json.load(runtime.invoke_model(modelId=TINY, body=body)["body"])
    assert found["generation"] == text
    runtime.close()
    assert list(engines_folder().iterdir())
    server.process.send_signal(signal.SIGTERM)
    _, log = server.process.communicate(timeout=60)
    assert server.process.returncode == 0, log
    assert not list(engines_folder().iterdir())
