"""Our side: `outcrop tune`'s own training loop on the benchmark's rows, one process, one JSON object to --to."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from process import peak_memory_bytes, versions

from outcrop.core import settings
from outcrop.data.records import NOWHERE
from outcrop.models.loading import load_model
from outcrop.models.rendering import Rendered
from outcrop.training.batches import BatchPlan, Example, from_rows
from outcrop.training.engine import TrainingEngine
from outcrop.training.loop import Task, TrainingRun
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.resolving import resolve


class StepClock:
    """A listener that keeps the time at which each step ended, and its loss."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "estimate":
            self.ends.append(time.perf_counter())
        if event["event"] == "step":
            self.ends.append(time.perf_counter())
            self.losses.append(event["loss"])


def in_trained_order(path: Path, plan: BatchPlan) -> list[Example]:
    """Examples placed so that the plan draws them in the order of the file."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rendered = [Rendered(row["input_ids"], [float(m) for m in row["completion_mask"]], NOWHERE) for row in rows]
    drawn = [number for step in range(plan.steps_per_epoch) for number in plan.step(step)]
    places = dict(zip(drawn, from_rows(rendered), strict=True))
    return [places[number] for number in range(plan.rows)]


def main() -> None:
    """Train one epoch and write times, losses and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True, help="hyperparameters, as JSON")
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(settings.threads())
    started = time.perf_counter()
    clock = StepClock()
    loaded = load_model(given.model)
    count = len(given.rows.read_text().splitlines())
    resolved = resolve(TrainingSpec.parse(given.settings), {}, loaded, count, clock)
    spec = resolved.spec
    task = Task(in_trained_order(given.rows, BatchPlan(count, spec.batch_size, spec.seed)), [], None, {})
    with tempfile.TemporaryDirectory() as folder:
        engine = TrainingEngine(loaded.model, spec, resolved.precision.dtype)
        TrainingRun(engine, task, spec, Path(folder), clock).run()
    result = {
        "seconds": [after - before for before, after in zip(clock.ends, clock.ends[1:], strict=False)],
        "losses": clock.losses,
        "peak_memory_bytes": peak_memory_bytes(),
        "dtype": str(resolved.precision.dtype),
        "total_seconds": time.perf_counter() - started,
        "versions": versions("torch", "transformers"),
    }
    given.to.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
