"""vLLM's server as a process of ours: its command, until it is ready, and what is asked of it over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from outcrop.core.errors import JobFailed, MissingDependency
from outcrop.generation.processes import EngineProcess, reap
from outcrop.generation.vllm import messages
from outcrop.generation.vllm.messages import Metrics, Piece

MODULE = "vllm.entrypoints.openai.api_server"
"""Started as a module: some builds of vLLM have no working command."""
HOST = "127.0.0.1"
QUIET = ("--disable-uvicorn-access-log",)
LOOK_S = 0.1
ANSWER_S = 10.0
"""For what needs no computing."""
ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",  # adapters come and go; only we can reach the server
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


class VllmServer:
    """One server. Nobody else gets in: it listens on loopback alone and asks for a key that only we know."""

    def __init__(self) -> None:
        self._process = EngineProcess()
        self._key = secrets.token_hex(32)
        self._client: httpx.AsyncClient | None = None

    @property
    def folder(self) -> Path:
        """For files that the server reads; removed with it."""
        return self._process.folder

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process.running

    async def start(self, python: str, arguments: Sequence[str], ready_s: float) -> None:
        """Start it with this Python and wait until it is ready, at most so long.

        Raises MissingDependency where that Python has no vLLM, JobFailed where it does not become ready.
        """
        await asyncio.to_thread(reap)
        port = _free_port()
        command = [python, "-m", MODULE, "--host", HOST, "--port", str(port), *QUIET, *arguments]
        self._client = httpx.AsyncClient(
            base_url=f"http://{HOST}:{port}",
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=httpx.Timeout(None, connect=ANSWER_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            trust_env=False,  # a proxy has no business on loopback
        )
        await asyncio.to_thread(self._process.start, command, {**ENVIRONMENT, "VLLM_API_KEY": self._key})
        end = time.monotonic() + ready_s
        while not await self._answers():
            if not self.running:
                raise self._ended(python)
            if time.monotonic() > end:
                raise JobFailed(
                    f"vLLM was not ready within {ready_s:g} s. It said last:\n{self._process.last_words()}\n",
                    "Give it more time (ready_s), or a smaller model.",
                )
            await asyncio.sleep(LOOK_S)

    async def post(self, path: str, body: dict[str, Any], where: str) -> bytes:
        """The answer's body. Raises as `messages.refusal` says, and JobFailed where the server is gone."""
        try:
            response = await self._open_client().post(path, json=body)
        except httpx.HTTPError as error:
            raise self._lost(error) from None
        if response.status_code != httpx.codes.OK:
            raise messages.refusal(response.status_code, response.content, where)
        return response.content

    async def stream(self, body: dict[str, Any], where: str) -> AsyncIterator[Piece]:
        """The pieces of an answer as they come; leaving the iterator cancels it. Raises as `post` does."""
        try:
            async with self._open_client().stream("POST", "/v1/completions", json=body) as response:
                if response.status_code != httpx.codes.OK:
                    raise messages.refusal(response.status_code, await response.aread(), where)
                async for line in response.aiter_lines():
                    found = messages.piece(line, body["logprobs"])
                    if found is not None:
                        yield found
        except httpx.HTTPError as error:
            raise self._lost(error) from None

    async def metrics(self) -> Metrics:
        """What it counts. Raises JobFailed where it is gone."""
        try:
            response = await self._open_client().get("/metrics", timeout=ANSWER_S)
        except httpx.HTTPError as error:
            raise self._lost(error) from None
        return Metrics.parse(response.text)

    async def stop(self) -> None:
        """End the process and all that belongs to it. Again is no error."""
        if self._client is not None:
            await self._client.aclose()
        await asyncio.to_thread(self._process.stop)

    def _open_client(self) -> httpx.AsyncClient:
        assert self._client is not None, "asked before it was started"
        return self._client

    async def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return (await self._open_client().get("/health", timeout=ANSWER_S)).status_code == httpx.codes.OK
        return False

    def _ended(self, python: str) -> Exception:
        words = self._process.last_words()
        if "No module named vllm" in words or "No module named 'vllm'" in words:
            return MissingDependency(
                f"{python} has no vLLM.", f"Install it there, never beside Outcrop: {python} -m pip install vllm"
            )
        return JobFailed(
            f"vLLM ended before it was ready, with code {self._process.exit_code}. It said last:\n{words}\n",
            "Mend what it names.",
        )

    def _lost(self, error: Exception) -> JobFailed:
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        if self.running:
            return JobFailed(f"The connection to vLLM broke ({what}).", "Ask again.")
        code, words = self._process.exit_code, self._process.last_words()
        return JobFailed(f"vLLM has ended, with code {code} ({what}). It said last:\n{words}\n", "Load the model anew.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
