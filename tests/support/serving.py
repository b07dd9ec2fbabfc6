"""`outcrop serve` and its controller as processes of their own, with everything that they need in an environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from outcrop.jobs.controller import ControllerSpec

COMMAND = [sys.executable, "-c", "from outcrop.cli.app import main; main()"]


def serve_words(*options: str) -> list[str]:
    """The command line of a server with these options and no controller."""
    return [*COMMAND, "serve", "--no-controller", "--output", "json", *options]


def start_server(options: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `outcrop serve` with these options and no controller, its standard output and error in pipes."""
    words = serve_words(*options)
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The JSON object that a server prints, which ends with the first line that is a closing brace."""
    assert process.stdout is not None, "a pipe"
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            break
    found: dict[str, Any] = json.loads("".join(lines))
    return found


def start_controller(
    spec: ControllerSpec, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a controller in a session of its own."""
    words = [sys.executable, "-P", "-m", "outcrop.jobs.controller", spec.model_dump_json()]
    return subprocess.Popen(words, env=environment, start_new_session=True)


@contextmanager
def served(home: Path, options: Sequence[str] = (), **variables: str) -> Iterator[dict[str, Any]]:
    """What a server tells of itself, which works with its controller on a free port until the block ends."""
    environment = {**os.environ, "OUTCROP_HOME": str(home), **variables}
    with ExitStack() as stack:
        server = start_server(["--port", "0", *options], environment)
        stack.callback(server.communicate)
        stack.callback(server.kill)
        answer = told_by(server)
        controller = start_controller(ControllerSpec(poll_s=0.1), environment)
        stack.callback(controller.wait)
        stack.callback(controller.kill)
        yield answer
