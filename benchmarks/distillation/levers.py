"""What each lever of distillation does by itself: to size, speed, memory and quality, on one small real task.

    python benchmarks/distillation/levers.py teacher --teacher TEACHER
    python benchmarks/distillation/levers.py NAME… --teacher TEACHER [--shared ../shared] [--to FILE]

`teacher` tunes bundled:pebble-l on the task, into the folder TEACHER: 12 of Banking77's intents, split by groups of
near-duplicates (seed 0, 10 % validation, 20 % test). Every NAME of LEVERS then changes one thing about that teacher.
Cuts and the bundled model are measured as they are and after two epochs of distillation from the teacher on the
training rows; the cut vocabulary, which changes no logit of a kept token, and bf16 as they are. All answer the same
test rows by the likeliest label and are timed in turns with the teacher, one thread. Results are added to FILE.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import outcrop
from outcrop.core import settings
from outcrop.core.files import write_json
from outcrop.core.statistics import non_inferiority, wilson
from outcrop.data.draw import SplitSpec
from outcrop.data.mapping import Mapping
from outcrop.data.reading import load
from outcrop.data.records import answer_text
from outcrop.data.split import Split, split, write_split
from outcrop.models.cutting import CutSpec, cut, measure_importance
from outcrop.models.folder import find_model
from outcrop.models.int8 import as_stored, held_bytes, hold_in_int8
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.saving import save_card
from outcrop.models.trimming import trim
from outcrop.store.teacher_cache import TeacherCache
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.workflows.evaluate import reproduction
from outcrop.workflows.measure import System, TestRows, ask, measure
from outcrop.workflows.resolving import parse_settings
from outcrop.workflows.saving import save_model
from outcrop.workflows.speed import faster, race
from outcrop.workflows.student_training import Course, train_student
from outcrop.workflows.students import IMPORTANCE_ROWS, Student
from outcrop.workflows.teachers import LocalTeacher, longest_label
from outcrop.workflows.teaching import explained

INTENTS, EPOCHS_OF_TEACHER, EPOCHS = 12, 5, 2
SEED, RACED = 0, 40
BASE, TEST_SHARE = "bundled:pebble-l", 0.2


@dataclass(frozen=True)
class Lever:
    """One change. make: of the teacher and its training rows as ids; recovers: it is trained again after the change."""

    make: Callable[[LoadedModel, list[list[int]]], LoadedModel]
    recovers: bool = True


def shape(**kept: float) -> Lever:
    """The teacher with a share of its parts, the least important gone."""

    def made(teacher: LoadedModel, rows: list[list[int]]) -> LoadedModel:
        importance = measure_importance(teacher.model, rows[:: max(1, len(rows) // IMPORTANCE_ROWS)])
        model = cut(teacher.model, importance, CutSpec(**kept))
        return LoadedModel(teacher.folder, model, teacher.tokenizer, teacher.renderer)

    return Lever(made)


def in_bf16(teacher: LoadedModel, rows: list[list[int]]) -> LoadedModel:
    """The same weights, stored and computed with in bfloat16."""
    loaded = load_model(teacher.folder.name)
    return LoadedModel(loaded.folder, loaded.model.to(torch.bfloat16), loaded.tokenizer, loaded.renderer)


def in_int8(teacher: LoadedModel, rows: list[list[int]]) -> LoadedModel:
    """The same weights in int8, with a scale for each output channel."""
    loaded = load_model(teacher.folder.name)
    hold_in_int8(loaded.model, as_stored(dict(loaded.model.named_parameters())))
    return loaded


LEVERS = {
    "vocabulary": Lever(lambda teacher, rows: trim(teacher, rows).loaded, recovers=False),
    "bf16": Lever(in_bf16, recovers=False),
    "int8": Lever(in_int8, recovers=False),
    "depth": shape(depth=0.5),
    "neurons": shape(neurons=0.5),
    "heads": shape(heads=0.5),
    "channels": shape(channels=0.5),
    "bundled": Lever(lambda teacher, rows: load_model("bundled:pebble-s")),
}


def rows_of(shared: Path, scratch: Path) -> Split:
    """The task's rows, split."""
    with gzip.open(shared / "data" / "intents" / "banking77" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    chosen = sorted({row["label"] for row in found})[:INTENTS]
    lines = [json.dumps(row) for row in found if row["label"] in chosen]
    (scratch / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    mapping = Mapping.from_text("prompt=text,completion=label", "Message: {prompt}\\nIntent:")
    return split(load([scratch / "rows.jsonl"], mapping), SplitSpec(seed=SEED, test=TEST_SHARE))


def tune_teacher(to: Path, parts: Split, scratch: Path) -> dict[str, Any]:
    """The teacher, in a folder; its minutes."""
    write_split(parts, scratch / "data")
    train, held = (str(scratch / "data" / f"{part}.jsonl") for part in ("train", "validation"))
    result = outcrop.tune(BASE, [train], str(to), validation=[held],
                          settings={"epochs": EPOCHS_OF_TEACHER, "seed": SEED})  # fmt: skip
    base = {"name": BASE, "digest": find_model(BASE).digest()}
    return {"base": base, "minutes": result.minutes, "validation_accuracy": result.metric_value}


def pull(lever: Lever, teacher: LoadedModel, parts: Split, scratch: Path) -> dict[str, Any]:
    """What a lever does, before and after recovery."""
    labels = tuple(sorted({answer_text(record) for record in parts.train}))
    rows = TestRows(parts.test, labels)
    ids = [teacher.renderer.render(record).token_ids for record in (*parts.train, *parts.validation)]
    changed = lever.make(teacher, ids)
    right = {"teacher": right_of(teacher, rows), "as it is": right_of(changed, rows)}
    minutes = 0.0
    if lever.recovers:
        changed, minutes = recovered(changed, teacher, parts, scratch)
        right["recovered"] = right_of(changed, rows)
    models = {"teacher": teacher, "changed": changed}
    timings = race(models, parts.test, longest_label(teacher, labels), ignore, alone=RACED)
    latency, throughput = faster(timings["teacher"], timings["changed"], seed=SEED)
    best = right["recovered" if "recovered" in right else "as it is"]
    lost = non_inferiority(right["teacher"], best, 0.02, seed=SEED)
    return {
        "parameters": parameters(changed), "weights_mb": weights_mb(changed), "kv_bytes_of_a_token": kv_bytes(changed),
        "accuracy": {name: wilson(float(each.sum()), len(each)).as_dict() for name, each in right.items()},
        "loss": {"points": 100 * lost.loss, "bound": 100 * lost.bound, "method": lost.method},
        "latency": latency.as_dict(), "throughput": throughput.as_dict(), "minutes_of_recovery": minutes,
    }  # fmt: skip


def right_of(loaded: LoadedModel, rows: TestRows) -> Any:
    """1 for each row that is right, 0 for each that is not."""
    system = System.of("changed", "", loaded, ask(loaded, rows, 0, SEED))
    answered = measure(system, rows, ignore, seed=SEED)
    return np.array([float(each.answer == each.references[0]) for each in answered.examples])


def recovered(changed: LoadedModel, teacher: LoadedModel, parts: Split, scratch: Path) -> tuple[LoadedModel, float]:
    """The changed teacher after learning from the teacher's distribution, and the minutes that took."""
    master = LocalTeacher(teacher, TeacherCache(scratch / "teachers.db"), ignore)
    objective = DistillationSpec().resolved(own_answers=True)
    train = explained(master, teacher.renderer, parts.train, objective, SEED)
    held = explained(master, teacher.renderer, parts.validation, None, SEED)
    watched = explained(master, teacher.renderer, parts.validation[:64], objective, SEED)
    master.close()
    alike = changed.tokenizer.get_vocab() == teacher.tokenizer.get_vocab()
    new_ids = range(len(teacher.tokenizer)) if alike else None
    student = Student("changed", lambda: copy.deepcopy(changed), new_ids, teacher.folder.name)
    spec = parse_settings({"epochs": EPOCHS, "seed": SEED})
    course = Course(train, held, watched, "exact_match", {})
    trained = train_student(student, course, spec, {}, objective if alike else None, scratch / "run", ignore)
    save_model(scratch, trained.loaded, trained.engine, trained.resolved)
    save_card(scratch, trained.loaded, {})
    return load_model(str(scratch)), trained.outcome.minutes


def parameters(loaded: LoadedModel) -> int:
    """Numbers of its weights."""
    return sum(weight.numel() for weight in loaded.model.parameters())


def weights_mb(loaded: LoadedModel) -> float:
    """Of its weights as they are computed with."""
    return held_bytes(loaded.model) / 1e6


def kv_bytes(loaded: LoadedModel) -> int:
    """Keys and values of one token, which every request holds for each of its tokens."""
    config = loaded.model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * config.num_key_value_heads * width * loaded.model.dtype.itemsize


def ignore(event: dict[str, Any]) -> None:
    """Nobody listens."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=["teacher", *LEVERS])
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results" / "levers.json")
    options = parser.parse_args()
    torch.set_num_threads(settings.threads())
    found = json.loads(options.to.read_text("utf-8")) if options.to.exists() else {}
    for name in options.names:
        with tempfile.TemporaryDirectory() as scratch:
            parts = rows_of(options.shared, Path(scratch))
            if name == "teacher":
                found[name] = tune_teacher(options.teacher, parts, Path(scratch))
                found["rows"] = {part: len(getattr(parts, part)) for part in ("train", "validation", "test")}
            else:
                found[name] = pull(LEVERS[name], load_model(str(options.teacher)), parts, Path(scratch))
        found |= {"machine": dict(reproduction().machine), "versions": dict(reproduction().versions)}
        write_json(options.to, found)
        print(name, json.dumps(found[name]), flush=True)


if __name__ == "__main__":
    main()
