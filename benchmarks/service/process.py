"""A server as a process of its own, for the benchmarks beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

SERVE = [
    sys.executable, "-c", "from outcrop.cli.app import main; main()", "serve", "--port", "0", "--no-controller",
    "--output", "json",
]  # fmt: skip


class Served(NamedTuple):
    """Where it listens, a bearer key, its process, its OUTCROP_HOME, and the id of its first foundation model."""

    url: str
    bearer: str
    pid: int
    home: Path
    model: str


@contextmanager
def served() -> Iterator[Served]:
    """A new server until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with (home / "log").open("w") as log:
            environment = {**os.environ, "OUTCROP_HOME": folder}
            server = subprocess.Popen(SERVE, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
            try:
                assert server.stdout is not None, "a pipe"
                lines: list[str] = []
                while not lines or lines[-1] != "}\n":
                    lines.append(server.stdout.readline())
                told = json.loads("".join(lines))
                bearer = told["keys"]["bearer"]
                models = Request(f"{told['url']}/foundation-models", headers={"Authorization": f"Bearer {bearer}"})
                with urlopen(models) as answer:
                    model = json.load(answer)["modelSummaries"][0]["modelId"]
                yield Served(told["url"], bearer, server.pid, home, model)
            finally:
                server.terminate()
                server.wait(60)


def machine() -> dict[str, object]:
    """What the figures were taken on, and how busy it was."""
    load = [round(each, 1) for each in os.getloadavg()]
    return {"processor": os.uname().machine, "cores": len(os.sched_getaffinity(0)), "load": load}
