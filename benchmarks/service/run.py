"""How many requests a second the control plane answers on SQLite, and what each costs the server's processor.

    python -m benchmarks.service.run --to benchmarks/service/results.json

The server is a process of its own; the client is one process with a few connections that are kept open, and bearer
keys. On a machine that does other work the rate says little; the processor's time for a request still holds.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.service.process import Served, machine, served

NUMBERS = count()


def main() -> None:
    """Run every kind of request and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    with served() as server:
        results = _measured(server, options.seconds, options.connections)
    settings = {"seconds": options.seconds, "connections": options.connections}
    content = {"machine": machine(), "settings": settings, "results": results}
    options.to.write_text(json.dumps(content, indent=2) + "\n")
    print(options.to.read_text())


def _measured(server: Served, seconds: float, connections: int) -> dict[str, Any]:
    client = Client(server)
    model = f"/foundation-models/{server.model.replace(':', '%3A')}"
    kinds: dict[str, Callable[[http.client.HTTPConnection], object]] = {
        "health, without a key": lambda connection: client.send(connection, "GET", "/health"),
        "GetFoundationModel": lambda connection: client.send(connection, "GET", model),
        "ListCustomModels of an empty project": lambda connection: client.send(connection, "GET", "/custom-models"),
        "GetProvisionedModelThroughput": lambda connection: client.send(
            connection, "GET", "/provisioned-model-throughput/first"
        ),
        "TagResource": client.tag,
    }
    client.provision("first")
    return {name: client.measure(kind, seconds, connections) for name, kind in kinds.items()}


class Client:
    """Requests with a bearer key, and the processor's time of the server."""

    def __init__(self, server: Served) -> None:
        self._place, self._process, self._model = server.url.removeprefix("http://"), server.pid, server.model
        self._headers = {"Authorization": f"Bearer {server.bearer}", "Content-Type": "application/json"}

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept open."""
        return http.client.HTTPConnection(self._place, timeout=60)

    def send(self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"") -> bytes:
        """A request that must succeed."""
        connection.request(method, path, body, self._headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status < 300, content
        return content

    def provision(self, name: str) -> None:
        """Provisioned throughput that is in service, for the other requests to be about."""
        connection = self.connect()
        body = {"provisionedModelName": name, "modelId": self._model, "modelUnits": 1}
        made = json.loads(self.send(connection, "POST", "/provisioned-model-throughput", json.dumps(body).encode()))
        self._arn = made["provisionedModelArn"]
        while json.loads(self.send(connection, "GET", f"/provisioned-model-throughput/{name}"))["status"] == "Creating":
            time.sleep(0.05)

    def tag(self, connection: http.client.HTTPConnection) -> None:
        """A write: another value of a tag."""
        body = {"resourceARN": self._arn, "tags": [{"key": "number", "value": str(next(NUMBERS))}]}
        self.send(connection, "POST", "/tagResource", json.dumps(body).encode())

    def measure(
        self, kind: Callable[[http.client.HTTPConnection], object], seconds: float, connections: int
    ) -> dict[str, float]:
        """Requests of one kind over several connections at once."""
        times: list[float] = []
        end = time.perf_counter() + seconds

        def work() -> None:
            connection = self.connect()
            while (began := time.perf_counter()) < end:
                kind(connection)
                times.append(time.perf_counter() - began)

        threads = [threading.Thread(target=work) for _ in range(connections)]
        began, busy = time.perf_counter(), self._busy_s()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed, used = time.perf_counter() - began, self._busy_s() - busy
        milliseconds = sorted(1000 * each for each in times)
        return {
            "requests_per_s": round(len(times) / elapsed, 1),
            "p50_ms": round(statistics.median(milliseconds), 2),
            "p99_ms": round(milliseconds[int(len(times) * 0.99)], 2),
            "server_cpu_ms_per_request": round(1000 * used / len(times), 3),
            "requests_per_s_of_a_whole_core": round(len(times) / used, 1),
        }

    def _busy_s(self) -> float:
        fields = Path(f"/proc/{self._process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
