"""One student distilled beside TRL's GKDTrainer: same teacher, student, rows, size of batches, steps and rate.

    python benchmarks/distillation/beside_trl.py --teacher MODEL --data labelled.jsonl --trl-python ENV/bin/python
                                                 [--rows 320] [--epochs 2] [--on-policy] [--precision auto|float32]
                                                 [--trl-bf16] [--states-weight W] [--our-epochs N] [--map …]
                                                 [--template …] [--to FILE]

Forward KL on given answers (TRL: lmbda 0, beta 0); --on-policy: reverse KL on answers that the student draws at every
step (lmbda 1, beta 1). TRL gets the rows in tokens already. Our total holds the teacher's one pass; TRL's teacher runs
at every step. Both have the same rate at every step. We go before and after TRL on the same core, so that a machine
that drifts shows, and both times count. Both students are scored by us on held-out rows: exact match by greedy
decoding, and the forward divergence from the teacher. --precision: of our steps, by default the faster by measurement,
as for every tuning; --trl-bf16: TRL's in bf16 (autocast) instead of fp32, whichever is faster for it. --states-weight:
of the teacher's states in our objective, which TRL's does not have. --our-epochs: fewer than TRL's, to see what an
equal score takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from outcrop.core import settings
from outcrop.core.events import ignore
from outcrop.core.files import write_json
from outcrop.data.records import Record, answer_text, prompt_text
from outcrop.models.cutting import CutSpec, cut, measure_importance
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.precision import choose, without_timing
from outcrop.models.saving import save_card, save_weights
from outcrop.store.teacher_cache import TeacherCache
from outcrop.training.batches import BatchPlan, Example
from outcrop.training.distillation.objective import Distillation, mean_divergence
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.engine import TrainingEngine
from outcrop.training.schedules import learning_rate
from outcrop.training.scoring import score_rows, summarise
from outcrop.training.trunk import Trunk
from outcrop.workflows.evaluate import reproduction
from outcrop.workflows.on_policy import OwnAnswers
from outcrop.workflows.records import Source, read_rows
from outcrop.workflows.resolving import parse_settings
from outcrop.workflows.students import Student, examples_of
from outcrop.workflows.teachers import LocalTeacher
from outcrop.workflows.teaching import explained

HERE = Path(__file__).parent
OBJECTIVE = DistillationSpec(gold_share=0.0)
MEASURED_ROWS = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("teacher", "data", "trl-python"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--map", default="", dest="columns")
    parser.add_argument("--template", default="")
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--on-policy", action="store_true")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--trl-bf16", action="store_true")
    parser.add_argument("--states-weight", type=float, default=0.0)
    parser.add_argument("--our-epochs", type=int)
    parser.add_argument("--to", type=Path, default=HERE / "results" / "beside-trl.json")
    options = parser.parse_args()
    torch.set_num_threads(settings.threads())
    with tempfile.TemporaryDirectory() as scratch:
        found = compare(options, Path(scratch))
    options.to.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        options.to, {**found, "machine": dict(reproduction().machine), "versions": dict(reproduction().versions)}
    )
    print(json.dumps(found, indent=2))


def compare(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Both sides, one after the other, and the scores of their students."""
    teacher = load_model(options.teacher)
    records = read_rows(Source((options.data,), options.columns, options.template), ignore).records
    order = np.random.default_rng(0).permutation(len(records))[: options.rows + options.held_out]
    train, held = [records[row] for row in order[: options.rows]], [records[row] for row in order[options.rows :]]
    student = cut_in_half(teacher, train, scratch / "student")
    warm_up = max(1, options.epochs * len(train) // options.batch_size // 20)
    told = {"epochs": options.epochs, "batch_size": options.batch_size, "learning_rate": options.learning_rate,
            "warmup_steps": warm_up}  # fmt: skip
    longest = max(len(teacher.renderer.answer(record, answer_text(record))) for record in train)
    way = {"on_policy": options.on_policy, "longest": longest, "bf16": options.trl_bf16}
    dtype = dtype_of(options.precision, teacher)
    more: dict[str, Any] = {"on_policy_share": 1.0} if options.on_policy else {"states_weight": options.states_weight}
    ours_told = told | {"epochs": options.our_epochs or options.epochs}
    work = Work(teacher, student, train, ours_told, longest, dtype, DistillationSpec(gold_share=0.0, **more))
    before = ours(work, scratch / "before")
    theirs = theirs_in_their_environment(options, train, told | way, scratch)
    after = ours(work, scratch / "after")
    held_lessons = explained(LocalTeacher(teacher, TeacherCache(scratch / "held.db"), ignore), teacher.renderer, held,
                             OBJECTIVE, 0)  # fmt: skip
    examples = examples_of(student, student.make(), held_lessons)
    result: dict[str, Any] = {
        "teacher": Path(options.teacher).name, "rows": len(train), "held_out": len(held), **told,
        "on_policy": options.on_policy, "states_weight": options.states_weight,
        "our_epochs": ours_told["epochs"], "longest_answer": longest,
        "dtypes": {"outcrop": str(dtype).removeprefix("torch."), "trl": "bf16" if options.trl_bf16 else "float32"},
        "our_seconds_before_and_after": [each.teacher_pass + sum(each.steps) for each in (before, after)],
    }  # fmt: skip
    passes = before.teacher_pass + after.teacher_pass
    for name, trunk, taken, alone in (
        ("outcrop", in_floats(student, after.engine), before.steps + after.steps, passes),
        ("trl", Trunk(load_model(str(scratch / "theirs")).model), theirs["seconds"], 0.0),
    ):
        times = 2 if name == "outcrop" else 1
        result[name] = {
            "step_ms": 1000 * median(taken), "teacher_pass_seconds": alone / times,
            "total_seconds": (alone + sum(taken)) / times, **quality(trunk, examples),
        }  # fmt: skip
    result["steps_faster"] = result["trl"]["step_ms"] / result["outcrop"]["step_ms"]
    result["whole_faster"] = result["trl"]["total_seconds"] / result["outcrop"]["total_seconds"]
    result["trl_versions"] = theirs["versions"]
    return result


def quality(trunk: Trunk, examples: Sequence[Example]) -> dict[str, float]:
    """On rows that neither side has seen."""
    score = summarise(score_rows(trunk, examples, 4096))
    distance = mean_divergence(trunk, examples, OBJECTIVE, 4096)
    return {"exact_match": score.exact_match, "loss": score.loss, "divergence": distance}


def cut_in_half(teacher: LoadedModel, train: list[Record], folder: Path) -> Student:
    """Half of the teacher's layers, saved where both sides read it."""
    rows = [teacher.renderer.render(record).token_ids for record in train[:64]]
    smaller = cut(teacher.model, measure_importance(teacher.model, rows), CutSpec(depth=0.5))
    folder.mkdir()
    made = replace(teacher, model=smaller)
    save_weights(made, {}, folder, torch.float32)
    save_card(folder, made, {})
    return Student("half", lambda: load_model(str(folder)), range(len(teacher.tokenizer)), str(folder))


def explaining_in(dtype: torch.dtype) -> torch.dtype:
    """What the teacher's pass computes in, as `distill` has it: in fp32 where our steps do."""
    return without_timing("float32" if dtype == torch.float32 else "auto", torch.device("cpu"))


def dtype_of(precision: str, teacher: LoadedModel) -> torch.dtype:
    """What our steps compute in, chosen as for every tuning."""
    config = teacher.model.config
    return choose(
        precision, width=config.hidden_size, inner=config.intermediate_size, rows=MEASURED_ROWS,
        device=teacher.model.device,
    ).dtype  # fmt: skip


@torch.no_grad()
def in_floats(student: Student, engine: TrainingEngine) -> Trunk:
    """The trained weights, computed in fp32 as TRL's are when they are scored."""
    model, weights = student.make().model, engine.flat.state()
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])
    return Trunk(model)


class Ours(NamedTuple):
    """Seconds of each step, seconds of the teacher's pass before the first, and the trained engine."""

    steps: list[float]
    teacher_pass: float
    engine: TrainingEngine


class Work(NamedTuple):
    """What is to be done. told: settings of the training; longest: tokens of a drawn answer; dtype, objective: ours."""

    teacher: LoadedModel
    student: Student
    train: list[Record]
    told: dict[str, Any]
    longest: int
    dtype: torch.dtype
    objective: DistillationSpec


def ours(work: Work, scratch: Path) -> Ours:
    """A whole training; on-policy the teacher has no pass before it."""
    teacher, student, train, told, longest, dtype, objective = work
    on_policy = bool(objective.on_policy_share)
    start = time.perf_counter()
    master = LocalTeacher(teacher, TeacherCache(scratch / "teachers.db"), ignore, explaining=explaining_in(dtype))
    lessons = explained(master, teacher.renderer, train, None if on_policy else objective, 0)
    master.close()
    loaded = student.make()
    examples = examples_of(student, loaded, lessons)
    before = time.perf_counter() - start
    engine = TrainingEngine(loaded.model, parse_settings(told), dtype, Distillation(objective))
    own = OwnAnswers(
        student, student.make(), engine, Trunk(load_model(teacher.folder.name).model), train, objective, longest, 0
    ) if on_policy else None  # fmt: skip
    plan, seconds = BatchPlan(len(examples), told["batch_size"], 0), []
    total = plan.total(told["epochs"])
    for step in range(total):
        start = time.perf_counter()
        rate = rate_as_theirs(step, told["learning_rate"], told["warmup_steps"], total)
        rows = plan.step(step)
        batch = [examples[row] for row in rows]
        engine.step(own(step, rows, batch) if own else batch, step, rate)
        seconds.append(time.perf_counter() - start)
    return Ours(seconds, before, engine)


def rate_as_theirs(step: int, peak: float, warmup: int, total: int) -> float:
    """Transformers' linear schedule, whose first step has a rate of 0; ours begins one step higher."""
    if step < warmup:
        return peak * step / warmup
    return learning_rate(step, peak=peak, schedule="linear", warmup=warmup, total=total)


def theirs_in_their_environment(
    options: argparse.Namespace, train: list[Record], told: dict[str, Any], scratch: Path
) -> dict[str, Any]:
    """TRL's steps; its student lies in scratch / theirs."""
    rows = scratch / "rows.jsonl"
    renderer = load_model(options.teacher).renderer
    rendered = [renderer.render(record) for record in train]
    said = [
        {"prompt": prompt_text(record), "input_ids": row.token_ids,
         "completion_mask": [int(weight != 0) for weight in row.weights]}
        for record, row in zip(train, rendered, strict=True)
    ]  # fmt: skip
    rows.write_text("".join(json.dumps(row) + "\n" for row in said))
    told = told | {"threads": settings.threads()}
    words = ["--teacher", str(load_model(options.teacher).folder.path), "--student", str(scratch / "student"),
             "--rows", str(rows), "--settings", json.dumps(told), "--to", str(scratch / "theirs")]  # fmt: skip
    done = subprocess.run(
        [options.trl_python, str(HERE / "trl_side.py"), *words], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads((scratch / "theirs" / "seconds.json").read_text())
    return found


if __name__ == "__main__":
    main()
