"""A verb of jobs that needs no torch: it counts to `steps` in a run folder, with a checkpoint at every step.

Every step is written to `history` beside the target, so that a test sees who trained what, and how often. What stands
for the weights is a digest that every step is worked into: a step that is lost or done twice makes another one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from outcrop.core import settings
from outcrop.core.catalog import Catalog
from outcrop.core.errors import Diverged, UsageError
from outcrop.core.events import Listener, StopRequested, ignore
from outcrop.core.files import write_atomic
from outcrop.workflows import job
from outcrop.workflows.run_folder import RUN, run_folder

FAILURES = {
    "diverged": Diverged("The loss became NaN."),
    "user-error": UsageError("No such file."),
    "bug": ZeroDivisionError("division by zero"),
    "out-of-memory": MemoryError(),
}


def count(
    to: str,
    *,
    steps: int,
    seconds: float = 0.01,
    fail: str = "",
    fail_above: int = 0,
    hold: str = "",
    settings: dict[str, Any] | None = None,
    sources: dict[str, str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    told: dict[str, Any] | None = None,
    listener: Listener = ignore,
) -> dict[str, Any]:
    """Count. told: further fields of the result; fail: the error to end with at half of the steps; fail_above: only
    with larger micro-batches; hold: the file without which the last step does not begin."""
    tokens = (settings or {}).get("micro_batch_tokens", 4096)
    with run_folder(to, overwrite=overwrite, resume=resume) as folder:
        listener({"event": "stage", "title": "Counting"})
        newest = max((int(path.name[5:]) for path in (folder / RUN / "checkpoints").glob("step-*")), default=0)
        if newest:
            listener({"event": "resumed", "step": newest})
        sys.stderr.write(f"counting from {newest}\n")
        for step in range(newest + 1, steps + 1):
            time.sleep(seconds)
            while hold and step == steps and not Path(hold).exists():
                time.sleep(seconds)
            if fail and step > steps // 2 and tokens > fail_above:
                raise FAILURES[fail]
            request: BaseException | None = None
            try:
                listener({"event": "step", "step": step, "steps": steps, "epoch": 1, "loss": 1 / step, "eta_s": 1.0})
            except StopRequested as asked:
                request = asked
            checkpoints = folder / RUN / "checkpoints"
            checkpoints.mkdir(exist_ok=True)
            before = (checkpoints / f"step-{step - 1:08d}").read_text() if step > 1 else ""
            with Path(f"{to}.history").open("a") as history:
                history.write(f"{os.getpid()} {step}\n")
            write_atomic(checkpoints / f"step-{step:08d}", after(before, step))
            listener({"event": "checkpoint", "step": step})
            if request and step < steps:
                raise request
        weights = (folder / RUN / "checkpoints" / f"step-{steps:08d}").read_text()
        result = {"model": to, "steps": steps, "micro_batch_tokens": tokens, "weights": weights, **(told or {})}
        write_atomic(folder / "result.json", json.dumps(result))
    return result


def after(weights: str, step: int) -> str:
    """The weights after a step."""
    return hashlib.sha256(f"{weights} {step}".encode()).hexdigest()


def weights_of(steps: int) -> str:
    """The weights of an undisturbed run."""
    return functools.reduce(after, range(1, steps + 1), "")


CUSTOMIZE_STEPS = 15


def customize(base: str, to: str, *, output: str, listener: Listener = ignore, **arguments: Any) -> dict[str, Any]:
    """In place of a customization job of the service. Where `held` is in its output, it waits for a file `release`
    in OUTCROP_HOME before its last step."""
    hold = str(settings.home() / "release") if "held" in output else ""
    told = {"training_loss": 1.0, "validation_losses": []}
    return count(to, steps=CUSTOMIZE_STEPS, seconds=0.05, hold=hold, told=told, listener=listener)


VERBS: Catalog[Any] = Catalog(
    "verb of the tests",
    {"count": "tests.support.counting:count", "customize": "tests.support.counting:customize"},
)

if __name__ == "__main__":
    sys.exit(job.main(sys.argv[1], VERBS))
