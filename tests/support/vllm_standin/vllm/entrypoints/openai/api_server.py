"""A stand-in for vLLM's server: the same module, flags and routes, with our embedded engine behind them.

It lets the contract of engines be tested where vLLM is not installed. What vLLM itself does is tested where it is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Coroutine
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from outcrop.core.completions import CompletionRequest, Constraint, Sampling, ScoreRequest
from outcrop.core.engines import AdapterRef, ModelRef, TokenEvent
from outcrop.core.errors import OutcropError, UserError
from outcrop.generation.scheduling import Capacity
from outcrop.generation.serving import ServingEngine
from outcrop.models.folder import find_model

FLAGS = (
    "host", "port", "model", "served-model-name", "dtype", "max-model-len", "max-num-seqs", "max-loras",
    "max-lora-rank", "max-logprobs", "generation-config", "structured-outputs-config",
)  # fmt: skip
SWITCHES = ("disable-uvicorn-access-log", "enable-lora", "enable-prompt-tokens-details")
KEY = f"Bearer {os.environ['VLLM_API_KEY']}"


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Standin:
    """The engine on its own event loop, and the names of its adapters."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.engine = ServingEngine(Capacity(slots=int(arguments.max_num_seqs)))
        self.names: dict[str, str | None] = {arguments.served_model_name: None}
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.wait(self.engine.load(ModelRef(arguments.model, arguments.dtype)))

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Its result, on the calling thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def load(self, body: dict[str, Any]) -> None:
        """Load an adapter from a path, under a name."""
        name, path = body["lora_name"], body["lora_path"]
        if name in self.names:
            raise Refused(400, f"The lora adapter '{name}' has already been loaded.")
        digest = find_model(path).digest()
        self.wait(self.engine.add_adapter(AdapterRef(path, digest)))
        self.names[name] = digest

    def unload(self, body: dict[str, Any]) -> None:
        """Forget the name of an adapter."""
        digest = self.names.pop(body["lora_name"], None)
        if digest is None:
            raise Refused(404, "The lora adapter cannot be found.")
        self.wait(self.engine.remove_adapter(digest))

    def score(self, body: dict[str, Any]) -> dict[str, Any]:
        """The log-probability of the only token that may follow."""
        candidate = tuple(body["allowed_token_ids"])
        request = ScoreRequest(tuple(body["prompt"]), (candidate,), self.names[body["model"]])
        [score] = self.wait(self.engine.score(request))
        return {"choices": [{"logprobs": {"token_logprobs": list(score.token_logprobs)}}]}

    def events(self, body: dict[str, Any]) -> AsyncIterator[TokenEvent]:
        """The events of one answer."""
        structure = body.get("structured_outputs") or {}
        kinds = {"json": "json_schema", "regex": "regex", "choice": "choice"}
        constraint = None
        for given, definition in structure.items():
            text = definition if isinstance(definition, str) else json.dumps(definition)
            constraint = Constraint(kinds[given], text)  # type: ignore[arg-type]
        sampling = Sampling(
            max_new_tokens=body["max_tokens"], temperature=body["temperature"], top_k=body["top_k"],
            top_p=body["top_p"], min_p=body["min_p"], repetition_penalty=body["repetition_penalty"], seed=body["seed"],
            stop_ids=tuple(body["stop_token_ids"]), stop_strings=tuple(body["stop"]), top_logprobs=body["logprobs"],
            logit_bias=tuple((int(token), bias) for token, bias in body.get("logit_bias", {}).items()),
            constraint=constraint,
        )  # fmt: skip
        adapter = self.names[body["model"]]
        return self.engine.generate(CompletionRequest(tuple(body["prompt"]), sampling, adapter=adapter))

    def metrics(self) -> str:
        """In Prometheus' text format."""
        stats = self.wait(self.engine.stats())
        counts = {
            "num_requests_running": stats.running, "num_requests_waiting": stats.waiting,
            "kv_cache_usage_perc": stats.used_tokens / stats.budget_tokens,
            "prompt_tokens_total": stats.computed_tokens + stats.prefix_tokens - stats.generated_tokens,
            "prefix_cache_hits_total": stats.prefix_tokens, "generation_tokens_total": stats.generated_tokens,
        }  # fmt: skip
        lines = [f'vllm:{name}{{engine="0",model_name="base"}} {float(value)}' for name, value in counts.items()]
        blocks = f'block_size="16",cache_dtype="auto",engine="0",num_gpu_blocks="{stats.budget_tokens // 16}"'
        return "\n".join(["# HELP vllm:any", *lines, f"vllm:cache_config_info{{{blocks}}} 1.0", ""])


class Handler(BaseHTTPRequestHandler):
    """vLLM's routes."""

    protocol_version = "HTTP/1.1"
    standin: Standin

    def do_GET(self) -> None:
        self._whole(200, self.standin.metrics() if self.path == "/metrics" else "")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self._answer(body)
        except Refused as error:
            self._refuse(error.status, str(error))
        except UserError as error:
            self._refuse(400, str(error))
        except OutcropError as error:
            self._refuse(503, str(error))

    def _answer(self, body: dict[str, Any]) -> None:
        if self.headers["Authorization"] != KEY:
            raise Refused(401, "Unauthorized")
        if self.path == "/v1/load_lora_adapter":
            self.standin.load(body)
            self._whole(200, "Success")
        elif self.path == "/v1/unload_lora_adapter":
            self.standin.unload(body)
            self._whole(200, "Success")
        elif body["model"] not in self.standin.names:
            raise Refused(404, f"The model `{body['model']}` does not exist.")
        elif "allowed_token_ids" in body:
            self._whole(200, json.dumps(self.standin.score(body)))
        else:
            self._stream(body)

    def _stream(self, body: dict[str, Any]) -> None:
        events = self.standin.events(body)
        first = self.standin.wait(anext(events))  # type: ignore[arg-type]  refusals come before the status
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        event: TokenEvent | None = first
        try:
            while event is not None:
                self._chunk(_piece(event))
                if event.usage is not None:
                    usage = {"prompt_tokens_details": {"cached_tokens": event.usage.cached_tokens}}
                    self._chunk({"choices": [], "usage": usage})
                event = self.standin.wait(_next(events))
            self._write("data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.standin.wait(events.aclose())  # type: ignore[attr-defined]  the caller is gone

    def _chunk(self, value: dict[str, Any]) -> None:
        self._write(f"data: {json.dumps(value)}\n\n")

    def _write(self, text: str) -> None:
        self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def _refuse(self, status: int, message: str) -> None:
        self._whole(status, json.dumps({"error": {"message": message, "code": status}}))

    def _whole(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _piece(event: TokenEvent) -> dict[str, Any]:
    tops = [{f"token_id:{token}": logprob for token, logprob in top} for top in event.top_logprobs]
    choice = {
        "index": 0, "text": "", "finish_reason": event.finish_reason, "token_ids": list(event.token_ids),
        "logprobs": {"token_logprobs": list(event.logprobs), "top_logprobs": tops},
    }  # fmt: skip
    return {"choices": [choice]}


async def _next(events: AsyncIterator[TokenEvent]) -> TokenEvent | None:
    return await anext(events, None)


class Server(ThreadingHTTPServer):
    """Lets as many connect at once as vLLM's server does; five, the default, break the connections of others."""

    request_queue_size = 2048


def main() -> None:
    """Load, then serve; flags that vLLM does not have end it."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in FLAGS:
        parser.add_argument(f"--{flag}")
    for switch in SWITCHES:
        parser.add_argument(f"--{switch}", action="store_true")
    arguments = parser.parse_args()
    Handler.standin = Standin(arguments)
    Server((arguments.host, int(arguments.port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
