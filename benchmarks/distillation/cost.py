"""What learning from a cached teacher costs beside plain tuning of the same student on the same rows, step by step.

    python benchmarks/distillation/cost.py --teacher MODEL --data prompts.jsonl [--rows 512] [--epochs 3] [--to FILE]
                          [--map COLUMNS --template TEMPLATE] [--students 6]

Both engines take the same batches in turn, so that a machine that drifts drifts under both; reading the cache counts as
a part of distilling, the teacher's own pass does not. --students: instead, so many students, cut out of the teacher in
different ways, after one pass of the teacher, beside as many with a pass each, in turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
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
from outcrop.data.records import Record
from outcrop.models.cutting import CutSpec
from outcrop.models.loading import load_model
from outcrop.store.teacher_cache import TeacherCache
from outcrop.training.batches import BatchPlan
from outcrop.training.distillation.objective import Distillation
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.engine import TrainingEngine
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.evaluate import reproduction
from outcrop.workflows.records import Source, read_rows
from outcrop.workflows.resolving import default_rate, parse_settings
from outcrop.workflows.students import Lesson, Student, examples_of, from_teacher
from outcrop.workflows.teachers import LocalTeacher
from outcrop.workflows.teaching import explained

SEED = 0
RESULTS = Path(__file__).parent / "results"


def ignore(event: dict[str, Any]) -> None:
    """Nobody listens."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--map", default="", dest="columns")
    parser.add_argument("--template", default="")
    parser.add_argument("--students", type=int, default=0)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(settings.threads())
    source = Source((options.data,), options.columns, options.template)
    rows = [record for record in read_rows(source, ignore).records if has_answer(record)]
    records = rows[:: max(1, len(rows) // options.rows)][: options.rows]
    with tempfile.TemporaryDirectory() as scratch:
        found = (
            share(options.teacher, records, options.epochs, options.batch_size, options.students, Path(scratch))
            if options.students
            else measure(options.teacher, records, options.epochs, options.batch_size, Path(scratch))
        )
    to = options.to or RESULTS / ("six-students.json" if options.students else "cost.json")
    to.parent.mkdir(parents=True, exist_ok=True)
    write_json(to, {**found, "machine": dict(reproduction().machine), "versions": dict(reproduction().versions)})
    print(json.dumps(found, indent=2))


def share(
    teacher: str, records: list[Record], epochs: int, batch_size: int, count: int, scratch: Path
) -> dict[str, Any]:  # fmt: skip
    """Seconds of one pass of the teacher and of students that share it, and of students that do not."""
    loaded = load_model(teacher)
    objective = DistillationSpec().resolved(own_answers=True)
    students = from_teacher(loaded, records, trimmed=True)[:count]
    spec = parse_settings({"epochs": epochs, "batch_size": batch_size, "warmup_steps": 1})
    together = LocalTeacher(loaded, TeacherCache(scratch / "together.db"), ignore)
    start = time.perf_counter()
    explained(together, loaded.renderer, records, objective, SEED)
    together.close()
    first = time.perf_counter() - start
    told: list[dict[str, Any]] = []
    for number, student in enumerate(students):
        alone = LocalTeacher(loaded, TeacherCache(scratch / f"alone-{number}.db"), ignore)
        seconds: dict[str, float] = {}
        for name, master in (("from_the_cache", together), ("own_pass", alone)):
            start = time.perf_counter()
            lessons = explained(master, loaded.renderer, records, objective, SEED)
            master.close()
            seconds[name] = time.perf_counter() - start
        start = time.perf_counter()
        train(student, lessons, spec, objective)
        told.append({"student": student.name, "training": time.perf_counter() - start, **seconds})
    trained = sum(each["training"] for each in told)
    shared = first + sum(each["from_the_cache"] for each in told) + trained
    apart = sum(each["own_pass"] for each in told) + trained
    return {
        "teacher": Path(teacher).name, "rows": len(records), "epochs": epochs, "batch_size": batch_size,
        "pass_seconds": first, "students": told, "shared_seconds": shared, "apart_seconds": apart,
        "apart_over_shared": apart / shared, "rows_the_teacher_worked_on": together.asked,
        "rows_known_from_before": together.cached,
    }  # fmt: skip


def train(student: Student, lessons: list[Lesson], spec: TrainingSpec, objective: DistillationSpec) -> None:
    """A whole training, at one rate."""
    made = student.make()
    rate = default_rate(made.model.config.hidden_size, "full")
    resolved = spec.model_copy(update={"learning_rate": rate})
    engine = TrainingEngine(made.model, resolved, torch.float32, Distillation(objective))
    examples, plan = examples_of(student, made, lessons), BatchPlan(len(lessons), spec.batch_size, SEED)
    for step in range(plan.total(spec.epochs)):
        engine.step([examples[row] for row in plan.step(step)], step, rate)


def measure(teacher: str, records: list[Record], epochs: int, batch_size: int, scratch: Path) -> dict[str, Any]:
    """Seconds of every step of both, and of what comes before the first."""
    loaded = load_model(teacher)
    master = LocalTeacher(loaded, TeacherCache(scratch / "teachers.db"), ignore)
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
        "teacher": Path(teacher).name, "student": student.name, "rows": len(records), "epochs": epochs,
        "batch_size": batch_size, "step_ms": {name: 1000 * median(taken) for name, taken in seconds.items()},
        "step_ratio": ratio.as_dict(), "cache_read_seconds": cache_seconds, "teacher_pass_seconds": teacher_pass,
        "teacher_rows_computed": master.asked, "whole_ratio": whole,
    }  # fmt: skip


if __name__ == "__main__":
    main()
