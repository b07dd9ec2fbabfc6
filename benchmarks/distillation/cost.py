"""What learning from a cached teacher costs beside plain tuning of the same student on the same rows, step by step.

    python benchmarks/distillation/cost.py --teacher MODEL --data prompts.jsonl [--rows 512] [--epochs 3] [--to FILE]

Both engines take the same batches in turn, so that a machine that drifts drifts under both; reading the cache counts as
a part of distilling, the teacher's own pass does not.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from outcrop.core import settings
from outcrop.core.files import write_json
from outcrop.core.statistics import ratio_of_medians
from outcrop.data.prompts import has_answer
from outcrop.models.cutting import CutSpec
from outcrop.models.loading import load_model
from outcrop.training.batches import BatchPlan
from outcrop.training.distillation.objective import Distillation
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.engine import TrainingEngine
from outcrop.workflows.evaluate import reproduction
from outcrop.workflows.records import Source, read_rows
from outcrop.workflows.resolving import default_rate, parse_settings
from outcrop.workflows.students import examples_of, from_teacher
from outcrop.workflows.teachers import LocalTeacher, open_cache
from outcrop.workflows.teaching import explained

SEED = 0


def ignore(event: dict[str, Any]) -> None:
    """Nobody listens."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results" / "cost.json")
    options = parser.parse_args()
    torch.set_num_threads(settings.threads())
    found = measure(options.teacher, options.data, options.rows, options.epochs, options.batch_size)
    options.to.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        options.to, {**found, "machine": dict(reproduction().machine), "versions": dict(reproduction().versions)}
    )
    print(json.dumps(found, indent=2))


def measure(teacher: str, data: str, rows: int, epochs: int, batch_size: int) -> dict[str, Any]:
    """Seconds of every step of both, and of what comes before the first."""
    loaded = load_model(teacher)
    master = LocalTeacher(loaded, open_cache(), ignore)
    records = [r for r in read_rows(Source((data,)), ignore).records if has_answer(r)][:rows]
    objective = DistillationSpec().resolved(own_answers=True)
    start = time.perf_counter()
    explained(master, loaded.renderer, records, objective, SEED)
    teacher_pass = time.perf_counter() - start
    students = from_teacher(loaded, records, trimmed=True)
    student = next(s for s in students if CutSpec(depth=0.5).name in s.name)
    start = time.perf_counter()
    lessons = explained(master, loaded.renderer, records, objective, SEED)
    cache_seconds = time.perf_counter() - start
    spec = parse_settings({"epochs": epochs, "batch_size": batch_size})
    engines, examples = {}, {}
    for name in ("plain", "distilled"):
        made = student.make()
        rate = default_rate(made.model.config.hidden_size, "full")
        resolved = spec.model_copy(update={"learning_rate": rate, "warmup_steps": 1})
        told = lessons if name == "distilled" else [lesson._replace(teaching=None) for lesson in lessons]
        examples[name] = examples_of(student, made, told)
        engines[name] = TrainingEngine(
            made.model, resolved, torch.float32, Distillation(objective) if name == "distilled" else None
        )
    plan = BatchPlan(len(records), batch_size, SEED)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for step in range(plan.total(epochs)):
        order = list(engines) if step % 2 else list(engines)[::-1]
        for name in order:
            batch = [examples[name][row] for row in plan.step(step)]
            start = time.perf_counter()
            engines[name].step(batch, step, 1e-3)
            seconds[name].append(time.perf_counter() - start)
    ratio = ratio_of_medians(np.array(seconds["distilled"]), np.array(seconds["plain"]))
    whole = (median(seconds["distilled"]) * plan.total(epochs) + cache_seconds) / (
        median(seconds["plain"]) * plan.total(epochs)
    )
    return {
        "teacher": teacher, "student": student.name, "rows": len(records), "epochs": epochs,
        "batch_size": batch_size, "step_ms": {name: 1000 * median(taken) for name, taken in seconds.items()},
        "step_ratio": ratio.as_dict(), "cache_read_seconds": cache_seconds, "teacher_pass_seconds": teacher_pass,
        "teacher_rows_computed": master.asked, "whole_ratio": whole,
    }  # fmt: skip


if __name__ == "__main__":
    main()
