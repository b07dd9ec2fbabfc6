"""The trainer: the process that does the work of one attempt of a job, and tells its runner what happens."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from outcrop.core.catalog import Catalog
from outcrop.core.errors import OutcropError
from outcrop.core.events import Event, Listener, StopRequested
from outcrop.generation.batch import BATCH_TOKENS
from outcrop.jobs.policies import Reason, reason_of
from outcrop.jobs.progress import json_ready
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.run_folder import JOB, RESULT, is_of_job, tidy

Verb = Callable[..., Any]

VERBS: Catalog[Verb] = Catalog(
    "verb of jobs",
    {
        "tune": "outcrop.workflows.fine_tune:tune",
        "pretrain": "outcrop.workflows.pretrain:pretrain",
        "distill": "outcrop.workflows.distill:distill",
        "batch": "outcrop.workflows.batch_infer:batch",
        "customize": "outcrop.workflows.customize:customize",
        "invoke-batch": "outcrop.workflows.invoke_batch:invoke_batch",
        "evaluation-job": "outcrop.workflows.evaluation_job:evaluation_job",
        "import": "outcrop.workflows.import_model:import_model",
    },
)
"""What a job may do: verbs that go on where an earlier attempt of them was ended."""

STOPPABLE = ("stage", "progress", "step")
"""The kinds of event at which the work can be left."""
SMALLEST_MICRO_BATCH = 16
PR_SET_PDEATHSIG = 1


def perform(
    verb: str, arguments: Mapping[str, Any], job_id: str, listener: Listener, verbs: Catalog[Verb] = VERBS
) -> Any:
    """Do the work of a job, from wherever an earlier attempt of it left off; returns the verb's result.

    Where an earlier attempt got as far as making the target, and was ended before it could say so, its result is read
    from there.
    """
    target = Path(arguments["to"])
    if is_of_job(target, job_id):
        tidy(target)
        return json.loads((target / RESULT).read_text("utf-8"))
    before = JOB.set(job_id)
    try:
        result = verbs.load(verb)(**arguments, listener=listener)
    finally:
        JOB.reset(before)
    return result


def with_smaller_micro_batches(arguments: Mapping[str, Any], times: int) -> dict[str, Any]:
    """The same work in a quarter of the tokens at once, `times` times over: results stay, memory falls."""
    if not times:
        return dict(arguments)
    settings = dict(arguments.get("settings") or {})
    given = int(settings.get("micro_batch_tokens") or TrainingSpec.model_fields["micro_batch_tokens"].default)
    settings["micro_batch_tokens"] = max(SMALLEST_MICRO_BATCH, given // 4**times)
    sources = {**(arguments.get("sources") or {}), "micro_batch_tokens": "retry after out of memory"}
    return {**arguments, "settings": settings, "sources": sources}


def with_fewer_batch_tokens(arguments: Mapping[str, Any], times: int) -> dict[str, Any]:
    """The same batch inference with a quarter of the tokens at once, `times` times over: memory falls."""
    if not times:
        return dict(arguments)
    given = int(arguments.get("batch_tokens") or BATCH_TOKENS)
    return {**arguments, "batch_tokens": max(SMALLEST_MICRO_BATCH, given // 4**times)}


class StopSwitch:
    """A listener in front of another one: once thrown, it ends the work at the next event that allows it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._thrown = threading.Event()

    def throw(self) -> None:
        """Ask for the end; any thread may."""
        self._thrown.set()

    def __call__(self, event: Event) -> None:
        self._listener(event)
        if self._thrown.is_set() and event["event"] in STOPPABLE:
            raise StopRequested


class Tether(threading.Thread):
    """Ties this process to its runner: ends it when the runner is gone, or did not renew the lease in time.

    So nothing is written any more when the next attempt begins. The deadline is in monotonic seconds of this machine.
    """

    def __init__(self, descriptor: int, deadline: float, stop: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._descriptor, self._deadline, self._stop = descriptor, deadline, stop

    def run(self) -> None:
        """Watch until the end."""
        pending = b""
        while (left := self._deadline - time.monotonic()) > 0:
            if not select.select([self._descriptor], [], [], left)[0]:
                continue
            piece = os.read(self._descriptor, 1 << 16)
            if not piece:
                break
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                self._obey(json.loads(line))
        os.killpg(0, signal.SIGKILL) if os.getpgrp() == os.getpid() else os.kill(os.getpid(), signal.SIGKILL)

    def _obey(self, message: Mapping[str, Any]) -> None:
        self._deadline = message.get("deadline", self._deadline)
        if message.get("stop"):
            self._stop()


class Reports:
    """Messages to the runner, one JSON object on a line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def __call__(self, message: Mapping[str, Any]) -> None:
        line = memoryview(json.dumps(json_ready(message), allow_nan=False).encode() + b"\n")
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]


def failure(error: Exception) -> dict[str, Any]:
    """The report on an attempt that an error ended."""
    reason = reason_of(error)
    if isinstance(error, OutcropError):
        account = error.as_dict()
    elif reason == Reason.OUT_OF_MEMORY:
        remedy = "Give a smaller --micro-batch-tokens or --max-length, or take --method lora."
        account = {"code": reason.value, "message": "The memory of this machine did not suffice.", "remedy": remedy}
    else:
        account = {"code": "bug", "message": f"{type(error).__name__}: {error}"}
    return {"outcome": "failed", "reason": reason.value, "error": account}


def main(reporting: str, verbs: Catalog[Verb] = VERBS) -> int:
    """Do what the first line of standard input says; tell what happens on the descriptor `reporting`."""
    _die_with_the_runner()
    reports = Reports(int(reporting))
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as control:  # unbuffered: the tether reads on
        task = json.loads(control.readline())
    if os.getppid() != task["runner"]:
        return 1
    listener = StopSwitch(reports)
    Tether(sys.stdin.fileno(), task["deadline"], listener.throw).start()
    reduced = with_fewer_batch_tokens if task["verb"] == "batch" else with_smaller_micro_batches
    arguments = reduced(task["arguments"], task["retries"].get(Reason.OUT_OF_MEMORY, 0))
    try:
        listener({"event": "stage", "title": "Loading the libraries"})
        result = perform(task["verb"], arguments, task["job_id"], listener, verbs)
        reports({"outcome": "succeeded", "result": result if isinstance(result, dict) else result.as_dict()})
    except StopRequested:
        reports({"outcome": "stopped"})
    except Exception as error:  # noqa: BLE001  the last stop: whatever arrives here is reported
        if not isinstance(error, OutcropError):
            traceback.print_exc()
        reports(failure(error))
    return 0


def _die_with_the_runner() -> None:
    """Have the system end this process with the one that started it, where it can; the tether does so elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
