"""What the server adds to the engine's own latency: one client asks Converse and the engine in turns.

    python -m benchmarks.service.runtime [--pairs N]

Both are in one process and share its processors. The client of Converse keeps its connection and uses a bearer key, so
that signing is not counted; boto3 is timed besides.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

import boto3
import uvicorn

from benchmarks.service.process import machine
from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.core.engines import ModelRef
from outcrop.data.records import Message
from outcrop.generation.serving import ServingEngine
from outcrop.models.asking import conversation_question
from outcrop.models.loading import load_model
from outcrop.service.app import App
from outcrop.service.bedrock.foundation import FoundationModels
from outcrop.service.keys import NewKeys
from outcrop.service.server import first_keys
from outcrop.service.spec import ServeSpec
from outcrop.service.state import Service

TOKENS, PROMPT, WARM_UP = 16, "Once upon a time there was a", 10
MESSAGES = [{"role": "user", "content": [{"text": PROMPT}]}]
CONFIG = {"maxTokens": TOKENS, "temperature": 0}
RESULTS = Path(__file__).parent / "runtime.json"
Way = Callable[[], object]


def main() -> None:
    """Measure and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pairs", type=int, default=100)
    pairs = arguments.parse_args().pairs
    model = next(iter(FoundationModels.load(ServeSpec()))).model
    with tempfile.TemporaryDirectory() as home:
        os.environ["OUTCROP_HOME"] = home
        with _engine(model.path) as engine, _server() as (port, keys):
            ways = {"engine": engine}
            ways |= {"converse": _converse(port, keys, model.id), "boto3": _boto3(port, keys, model.id)}
            times = _in_turns(ways, pairs)
    result = {"model": model.id, "pairs": pairs, "tokens": TOKENS, **_told(times), "machine": machine()}
    RESULTS.write_text(json.dumps({**result, "date": time.strftime("%Y-%m-%d")}, indent=2) + "\n")
    print(RESULTS.read_text())


@contextmanager
def _engine(model: str) -> Iterator[Way]:
    """Asks the engine itself."""
    loaded = load_model(model)
    question = conversation_question(loaded.renderer, loaded.folder, [Message("user", PROMPT)])
    request = CompletionRequest(question.prompt_ids, Sampling(TOKENS, stop_ids=loaded.renderer.stop_ids))
    loop, engine = asyncio.new_event_loop(), ServingEngine()
    loop.run_until_complete(engine.load(ModelRef(model, "float32")))

    async def answered() -> None:
        async for _ in engine.generate(request):
            pass

    yield lambda: loop.run_until_complete(answered())
    loop.run_until_complete(engine.close())


@contextmanager
def _server() -> Iterator[tuple[int, NewKeys]]:
    """A server in a thread: its port, and its keys."""
    service = Service(ServeSpec(port=0, start_controller=False))
    keys = first_keys(service)
    assert keys is not None, "a new home has no keys"
    server = uvicorn.Server(uvicorn.Config(App(service), port=0, log_config=None, access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield server.servers[0].sockets[0].getsockname()[1], keys
    server.should_exit = True
    thread.join()


def _converse(port: int, keys: NewKeys, model: str) -> Way:
    """Asks Converse over a connection that is kept; waits while the model is being loaded."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"messages": MESSAGES, "inferenceConfig": CONFIG})
    headers = {"Authorization": f"Bearer {keys.bearer}", "Content-Type": "application/json"}

    def converse() -> None:
        connection.request("POST", f"/model/{model.replace(':', '%3A')}/converse", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == 429:
            time.sleep(1)
            converse()
        else:
            assert answer.status == 200, content

    return converse


def _boto3(port: int, keys: NewKeys, model: str) -> Way:
    """Asks Converse by boto3."""
    client = boto3.client(
        "bedrock-runtime", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id=keys.access_key_id, aws_secret_access_key=keys.secret_access_key,
    )  # fmt: skip
    return lambda: client.converse(modelId=model, messages=MESSAGES, inferenceConfig=CONFIG)


def _in_turns(ways: dict[str, Way], pairs: int) -> dict[str, list[float]]:
    """Milliseconds of every way, one after the other in each round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(pairs + WARM_UP):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if number >= WARM_UP:
                times[name].append(1000 * (time.perf_counter() - began))
    return times


def _told(times: dict[str, list[float]]) -> dict[str, float]:
    """Medians and tenths, and of what Converse adds to the engine in the same round."""
    added = [ours - alone for ours, alone in zip(times["converse"], times["engine"], strict=True)]
    shown = {**times, "added": added}
    return {
        **{f"{name}_p50_ms": round(median(values), 2) for name, values in shown.items()},
        **{f"{name}_p10_ms": round(quantiles(values, n=10)[0], 2) for name, values in shown.items()},
    }


if __name__ == "__main__":
    main()
