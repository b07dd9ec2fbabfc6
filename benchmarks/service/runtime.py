"""What the server adds to the engine's own latency: one client asks Converse and the engine in turns.

    python benchmarks/service/runtime.py [--pairs N]

Both are in one process and share its processors. The client of Converse keeps its connection and uses a bearer key, so
that signing is not counted; boto3 is timed besides.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import boto3
import uvicorn

MODEL, TOKENS, PROMPT = "outcrop.gravel-v1:0", 16, "Once upon a time there was a"
RESULTS = Path(__file__).parent / "runtime.json"


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pairs", type=int, default=100)
    pairs = arguments.parse_args().pairs
    with tempfile.TemporaryDirectory() as home:
        os.environ["OUTCROP_HOME"] = home
        result = {"pairs": pairs, "tokens": TOKENS, **_measure(pairs)}
    result |= {"machine": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0)),
               "load": os.getloadavg(), "date": time.strftime("%Y-%m-%d")}  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _measure(pairs: int) -> dict[str, object]:
    from outcrop.core.completions import CompletionRequest, Sampling
    from outcrop.core.engines import ModelRef
    from outcrop.data.records import Message
    from outcrop.generation.serving import ServingEngine
    from outcrop.models.asking import conversation_question
    from outcrop.models.loading import load_model
    from outcrop.service.app import App
    from outcrop.service.server import first_keys
    from outcrop.service.spec import ServeSpec
    from outcrop.service.state import Service

    loaded = load_model("bundled:gravel")
    question = conversation_question(loaded.renderer, loaded.folder, [Message("user", PROMPT)])
    request = CompletionRequest(question.prompt_ids, Sampling(TOKENS, stop_ids=loaded.renderer.stop_ids))
    service = Service(ServeSpec(port=0, start_controller=False))
    keys = first_keys(service)
    assert keys is not None
    server = uvicorn.Server(uvicorn.Config(App(service), port=0, log_config=None, access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    loop = asyncio.new_event_loop()
    engine = ServingEngine()
    loop.run_until_complete(engine.load(ModelRef("bundled:gravel", "float32")))

    async def answered() -> None:
        async for _ in engine.generate(request):
            pass

    connection = http.client.HTTPConnection("127.0.0.1", port)
    messages = [{"role": "user", "content": [{"text": PROMPT}]}]
    config = {"maxTokens": TOKENS, "temperature": 0}
    body = json.dumps({"messages": messages, "inferenceConfig": config})
    headers = {"Authorization": f"Bearer {keys.bearer}", "Content-Type": "application/json"}

    def converse() -> None:
        connection.request("POST", f"/model/{MODEL.replace(':', '%3A')}/converse", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == 429:
            time.sleep(1)
            converse()
        else:
            assert answer.status == 200, content

    client = boto3.client(
        "bedrock-runtime", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id=keys.access_key_id, aws_secret_access_key=keys.secret_access_key,
    )  # fmt: skip
    ways: dict[str, Callable[[], object]] = {
        "engine": lambda: loop.run_until_complete(answered()),
        "converse": converse,
        "boto3": lambda: client.converse(modelId=MODEL, messages=messages, inferenceConfig=config),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(pairs + 10):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if number >= 10:
                times[name].append(1000 * (time.perf_counter() - began))
    loop.run_until_complete(engine.close())
    server.should_exit = True
    thread.join()
    added = [ours - alone for ours, alone in zip(times["converse"], times["engine"], strict=True)]
    return {
        **{f"{name}_p50_ms": round(median(values), 2) for name, values in times.items()},
        **{f"{name}_p10_ms": round(quantiles(values, n=10)[0], 2) for name, values in times.items()},
        "added_p50_ms": round(median(added), 2),
        "added_p10_ms": round(quantiles(added, n=10)[0], 2),
    }


if __name__ == "__main__":
    main()
