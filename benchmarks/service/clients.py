"""Sixty-four clients of Converse at once on the first foundation model: what they are answered, who waits, what stays.

    python -m benchmarks.service.clients [--clients N] [--each N] [--tokens N]

An eighth of the clients belong to one project, the others to another. Afterwards as many ask again and every other one
leaves as soon as the first token of any is there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

from benchmarks.service.process import Served, machine, served
from outcrop.service.administration import create_keys

RESULTS = Path(__file__).parent / "clients.json"
FEW = 8
"""One client in so many belongs to the smaller project."""


class Asked(NamedTuple):
    """A connection whose request was sent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def main() -> None:
    """Measure and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--clients", type=int, default=64)
    arguments.add_argument("--each", type=int, default=2, help="requests of each client")
    arguments.add_argument("--tokens", type=int, default=32)
    given = arguments.parse_args()
    with served() as server:
        os.environ["OUTCROP_HOME"] = str(server.home)
        result = asyncio.run(_measured(server, given))
    RESULTS.write_text(json.dumps({**vars(given), **result, "machine": machine()}, indent=2) + "\n")
    print(RESULTS.read_text())


async def _measured(server: Served, given: argparse.Namespace) -> dict[str, Any]:
    few, many = _another(server, "few"), _another(server, "many")
    while await _status(await _ask(server, few, "converse", 1)) != 200:
        await asyncio.sleep(1)
    began = time.perf_counter()
    ended: dict[str, list[float]] = {"few": [], "many": []}
    statuses = Counter[int]()

    async def client(name: str, key: str) -> None:
        for _ in range(given.each):
            statuses[await _status(await _ask(server, key, "converse", given.tokens))] += 1
            ended[name].append(time.perf_counter() - began)

    kinds = [("few", few) if number % FEW == 0 else ("many", many) for number in range(given.clients)]
    await asyncio.gather(*(client(*kind) for kind in kinds))
    seconds = time.perf_counter() - began
    last = max(ended["few"])
    return {
        "model": server.model, "statuses": statuses, "seconds": round(seconds, 2),
        "answers_per_s": round(statuses[200] / seconds, 1),
        "median_end_s": {name: round(median(times), 2) for name, times in ended.items()},
        "share_of_many_done_when_few_are": round(sum(each < last for each in ended["many"]) / len(ended["many"]), 2),
        "after_half_left": await _leaving(server, many, given),
    }  # fmt: skip


async def _leaving(server: Served, key: str, given: argparse.Namespace) -> dict[str, Any]:
    """What the others are answered, and how long requests of those who left stay open."""
    asked = [await _ask(server, key, "converse-stream", 4 * given.tokens) for _ in range(given.clients)]
    staying, leaving = asked[::2], asked[1::2]
    await leaving[0].reader.readline()
    for each in leaving:
        each.writer.transport.abort()
    statuses = Counter(await asyncio.gather(*(_status(each) for each in staying)))
    began = time.perf_counter()
    while _open(server) > 1:  # the request that asks is open, too
        await asyncio.sleep(0.01)
    return {"statuses": statuses, "all_free_after_ms": round(1000 * (time.perf_counter() - began), 1)}


def _another(server: Served, project: str) -> str:
    """A bearer key of a new project."""
    return create_keys(project)["bearer"]


def _open(server: Served) -> int:
    request = Request(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.bearer}"})
    with urlopen(request) as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("outcrop_open_requests ")).split()[1]))


async def _ask(server: Served, key: str, operation: str, tokens: int) -> Asked:
    messages = [{"role": "user", "content": [{"text": "Once upon a time"}]}]
    body = json.dumps({"messages": messages, "inferenceConfig": {"maxTokens": tokens, "temperature": 0}}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    path = f"/model/{server.model.replace(':', '%3A')}/{operation}"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    return Asked(reader, writer)


async def _status(asked: Asked) -> int:
    line = await asked.reader.readline()
    await asked.reader.read()
    asked.writer.close()
    return int(line.split()[1])


if __name__ == "__main__":
    main()
