"""vLLM's server as a child: what happens when it is not there, does not start, or dies; and what is said to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outcrop.core.completions import CompletionRequest, Constraint, Sampling
from outcrop.core.engines import ModelRef
from outcrop.core.errors import JobFailed, MissingDependency, ModelError, Unavailable, UsageError
from outcrop.generation import guard
from outcrop.generation.processes import engines_folder
from outcrop.generation.vllm import messages
from outcrop.generation.vllm.engine import VllmEngine, VllmOptions
from outcrop.generation.vllm.messages import Metrics, Piece
from outcrop.generation.vllm.model import ServedModel
from tests.generation.adapters import write_adapter
from tests.generation.serving_engines import all_events, first_events, running
from tests.support.tiny import tiny_model

pytestmark = pytest.mark.contract
METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="base"} 2.0
vllm:num_requests_running{engine="1",model_name="base"} 1.0
vllm:num_requests_waiting{engine="0",model_name="base"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="base",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0.25
vllm:prefix_cache_hits_total{engine="0",model_name="base"} 64.0
vllm:prompt_tokens_total{engine="0",model_name="base"} 1000.0
vllm:prompt_tokens_created{engine="0",model_name="base"} 1.7e+09
vllm:generation_tokens_total{engine="0",model_name="base"} 50.0
vllm:cache_config_info{_block_size_resolved="True",block_size="128",engine="0",num_gpu_blocks="40"} 1.0
"""


@pytest.fixture
def home(outcrop_home: Path) -> Iterator[Path]:
    """After a test no engine has left a file or a process."""
    yield outcrop_home
    assert not list(engines_folder().glob("*"))
    assert not _of_this_process()


def _of_this_process() -> list[str]:
    """Processes of engines that this process owns."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{guard.MARK}={os.getpid()}-" in (entry / "environ").read_text(errors="replace"):
                found.append(entry.name)
    return found


def _load(options: VllmOptions, base: str) -> None:
    async def load() -> None:
        await VllmEngine(options).load(ModelRef(base, "float32"))

    asyncio.run(load())


def _program(folder: Path, script: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_without_an_environment_it_says_what_to_do(home: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTCROP_VLLM_PYTHON", raising=False)
    with pytest.raises(UsageError, match="name its python in OUTCROP_VLLM_PYTHON"):
        _load(VllmOptions(), base)
    monkeypatch.setenv("OUTCROP_VLLM_PYTHON", "/nowhere/python")
    with pytest.raises(UsageError, match="There is no program /nowhere/python"):
        _load(VllmOptions(), base)
    with pytest.raises(MissingDependency, match="has no vLLM"):
        _load(VllmOptions(sys.executable), base)
    with pytest.raises(UsageError, match="rank is 10"):
        VllmEngine(VllmOptions(rank=10))


def test_a_server_that_does_not_start_is_ended_and_quoted(home: Path, base: str, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"with code 3\. It said last:\nno memory\n"):
        _load(VllmOptions(_program(tmp_path, "echo no memory; exit 3")), base)
    with pytest.raises(JobFailed, match=r"not ready within 0.2 s\. It said last:"):
        _load(VllmOptions(_program(tmp_path, "sleep 600 & sleep 600"), ready_s=0.2), base)
    with pytest.raises(ModelError, match="no model folder"):
        _load(VllmOptions(_program(tmp_path, "exit 3")), str(tmp_path / "absent"))


def test_a_server_that_is_killed_fails_its_requests_and_leaves_nothing(home: Path, base: str, tmp_path: Path) -> None:
    with running("standin", base, tmp_path) as served:
        [folder] = engines_folder().iterdir()
        mark = folder.name

        async def killed() -> None:
            stream = served.engine.generate(CompletionRequest((5,), Sampling(max_new_tokens=240)))
            await first_events(stream, 2)
            waiting = asyncio.create_task(all_events(served.engine, CompletionRequest((5,), Sampling(240))))
            commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in guard.tree(mark)}
            [server] = [pid for pid, command in commands.items() if "\0-m\0vllm." in command and "guard" not in command]
            assert "api-key" not in commands[server]
            os.kill(server, signal.SIGKILL)
            with pytest.raises(JobFailed, match=r"vLLM has ended|connection to vLLM broke"):
                await first_events(stream, 240)
            with pytest.raises(JobFailed):
                await waiting
            while (await served.engine.health(1.0)).alive:
                await asyncio.sleep(0.01)
            with pytest.raises(JobFailed, match="vLLM has ended, with code 137"):
                await all_events(served.engine, CompletionRequest((5,)))

        served.wait(killed())
        served.wait(served.engine.close())
        assert not guard.tree(mark)


def test_an_adapter_folder_is_served_merged(base: str, tmp_path: Path) -> None:
    ref = write_adapter(tmp_path / "adapter", Path(base), tiny_model(), seed=1)
    found = ServedModel.prepare(ModelRef(ref.name), tmp_path)
    assert found.digest == ref.digest
    assert found.path == tmp_path / "model"
    assert {file.name for file in found.path.iterdir()} >= {"model.safetensors", "config.json", "tokenizer.json"}
    assert found.limits.context == 256


def test_what_vllm_would_change_in_silence_is_refused() -> None:
    with pytest.raises(UsageError, match=r"temperature is 0\.001"):
        messages.check_supported(Sampling(temperature=0.001), "request")
    with pytest.raises(UsageError, match="vLLM takes -100 to 100"):
        messages.check_supported(Sampling(logit_bias=((5, -101.0),)), "request")
    messages.check_supported(Sampling(temperature=0.01, logit_bias=((5, -100.0),)), "request")


def test_every_field_of_a_request_is_said() -> None:
    sampling = Sampling(
        max_new_tokens=9, temperature=0.5, top_k=4, top_p=0.9, seed=7, stop_ids=(2,), stop_strings=("x",), min_p=0.1,
        repetition_penalty=1.1, logit_bias=((5, 1.5),), top_logprobs=2, constraint=Constraint("choice", '["a"]'),
    )  # fmt: skip
    body = messages.completion((1, 2), sampling, 6, model="base", answer=0, end=3)
    said = {
        "prompt": [1, 2], "max_tokens": 6, "temperature": 0.5, "top_k": 4, "top_p": 0.9, "seed": 7, "stop": ["x"],
        "stop_token_ids": [2, 3], "min_p": 0.1, "repetition_penalty": 1.1, "logit_bias": {"5": 1.5}, "logprobs": 2,
        "structured_outputs": {"choice": ["a"]}, "ignore_eos": True, "add_special_tokens": False,
    }  # fmt: skip
    assert said.items() <= body.items()
    assert messages.completion((1,), sampling, 6, model="base", answer=1, end=3)["seed"] != 7


def test_pieces_of_a_stream() -> None:
    choice = (
        '{"choices":[{"text":"s","logprobs":{"token_logprobs":[-1.5],"top_logprobs":'
        '[{"token_id:9":-1.5,"token_id:4":-0.5,"token_id:3":-0.5}]},"finish_reason":null,"token_ids":[9]}]}'
    )
    assert messages.piece(f"data: {choice}", 2) == Piece((9,), (-1.5,), (((3, -0.5), (4, -0.5)),))
    assert messages.piece(f"data: {choice}", 0) == Piece((9,), (-1.5,), ((),))
    usage = '{"choices":[],"usage":{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}'
    assert messages.piece(f"data: {usage}", 0) == Piece(cached_tokens=2)
    assert messages.piece("data: [DONE]", 0) is messages.piece("", 0) is messages.piece(": ping", 0) is None
    with pytest.raises(JobFailed, match=r"vLLM failed: out of memory\."):
        messages.piece('data: {"error": {"message": "out of memory", "code": 500}}', 0)
    with pytest.raises(JobFailed, match="gave the answer up: abort"):
        messages.finish_reason("abort")


def test_a_token_is_scored_by_forcing_it() -> None:
    body = messages.forced((5, 6), 2, model="base")
    assert (body["prompt"], body["allowed_token_ids"], body["max_tokens"]) == ([5, 6], [2], 1)
    assert messages.logprob(b'{"choices":[{"logprobs":{"token_logprobs":[-1.5]}}]}') == -1.5


def test_metrics_are_added_up_over_engines() -> None:
    assert Metrics.parse(METRICS) == Metrics(3, 4, 0.25, 5120, 1000, 64, 50)
    assert Metrics.parse("").cache_tokens == 0


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, b'{"error":{"message":"too long","code":400}}', UsageError, "refuses the request: too long"),
        (404, b'{"error":"Unauthorized"}', UsageError, "Unauthorized"),
        (429, b"busy", Unavailable, "takes no requests now: busy"),
        (503, b'{"error":{"message":"engine is currently busy"}}', Unavailable, "currently busy"),
        (500, b"", JobFailed, "no reason given"),
    ],
)
def test_refusals_become_our_errors(status: int, body: bytes, kind: type[Exception], message: str) -> None:
    found = messages.refusal(status, body, "request")
    assert type(found) is kind
    assert message in str(found)
