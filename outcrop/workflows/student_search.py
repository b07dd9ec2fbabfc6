"""Which student: shapes are timed before any training, the too slow go, and short trainings halve the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from outcrop.core.events import Listener
from outcrop.core.files import write_json
from outcrop.core.results import Estimate
from outcrop.core.statistics import wilson
from outcrop.data.records import Record
from outcrop.evaluation.distillation import Candidate, Speed, Target, pareto_front
from outcrop.models.int8 import turn_to_int8
from outcrop.training.batches import BatchPlan
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.speed import race
from outcrop.workflows.student_training import Course, quietly, train_student
from outcrop.workflows.students import Student
from outcrop.workflows.teachers import RemoteTeacher, Teacher

TIMED_PROMPTS, TIMED_ROUNDS, TIMED_S = 12, 3, 1.5
NEAR_THE_BAR, TIMED_AGAIN = 0.3, 2
"""Where a speed-up is off the target by no more than this share of it, the medians of two timings more decide: one may
be off by 20 to 40 % where the machine's speed wavers."""
MARGIN = 1.1
"""Students whose speed-up has this margin over the target go before others: what is timed again is never quite the
same."""
MOST_TRIED = 4
"""Students that are trained at all: of those fast enough, the largest, which have the most to give."""
RUNGS = (0.15, 0.35)
"""Shares of the whole training that the short ones take (successive halving, Jamieson and Talwalkar 2016)."""
TEACHER, STUDENT, INT8 = "teacher", "student", "student in int8"


class Found(NamedTuple):
    """The student to train wholly, and all that were looked at."""

    student: Student
    candidates: list[Candidate]


@dataclass(frozen=True)
class Search:
    """What every candidate is tried with. objective: of students with the teacher's tokenizer; int8: students are timed
    with int8 weights, too, and the faster way counts, for so they may be served."""

    target: Target
    course: Course
    spec: TrainingSpec
    sources: Mapping[str, str]
    objective: DistillationSpec | None
    folder: Path
    listener: Listener
    losses: dict[str, float] = field(default_factory=dict)
    int8: bool = False

    def find(
        self, students: Sequence[Student], teacher: Teacher, prompts: Sequence[Record], tokens: int, longest: int
    ) -> Found:
        """Time, drop, halve. What was found is kept in the folder, so that a search that goes on goes the same way.

        tokens: of a usual answer; longest: of the longest, as a remote teacher was asked.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        candidates = self._timed(students, teacher, prompts, tokens, longest)
        by_name = {student.name: student for student in students}
        chosen = [by_name[name] for name in self._tried(candidates)]
        for number, share in enumerate(RUNGS):
            if len(chosen) == 1:
                break
            for student in chosen:
                self._try(student, share, number, candidates)
            chosen.sort(key=lambda s: merit(candidates[s.name], self.losses), reverse=True)  # stable: larger ones first
            kept = chosen[: math.ceil(len(chosen) / 2)]
            for student in chosen:
                if student not in kept:
                    fate = f"left behind after {share:.0%} of a training"
                    candidates[student.name] = replace(candidates[student.name], fate=fate)
            chosen = kept
        winner = chosen[0]
        for student in chosen:
            fate = "trained wholly" if student is winner else "left behind before the last training"
            candidates[student.name] = replace(candidates[student.name], fate=fate)
        return Found(winner, list(candidates.values()))

    def _timed(
        self, students: Sequence[Student], teacher: Teacher, prompts: Sequence[Record], tokens: int, longest: int
    ) -> dict[str, Candidate]:
        """Every student in turns with the teacher, two models in memory at a time."""
        kept = self.folder / "speeds.json"
        known: dict[str, Any] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
        self.listener({"event": "stage", "title": f"Timing {len(students)} shapes of students before any training"})
        for student in students:
            if student.name not in known:
                timed = [self._against(student, teacher, prompts, tokens, longest)]
                if self._is_near(timed[0]):
                    timed += [self._against(student, teacher, prompts, tokens, longest) for _ in range(TIMED_AGAIN)]
                speeds = {name: _typical([each[name] for each in timed]) for name in timed[0]}
                known[student.name] = {name: speed.as_dict() for name, speed in speeds.items()}
                write_json(kept, known)
        candidates = {}
        for student in students:
            speeds = {name: Speed.from_dict(values) for name, values in known[student.name].items()}
            way = _served(speeds)
            ratios = _ratios(speeds[TEACHER], speeds[way])
            candidates[student.name] = Candidate(student.name, speeds[way], *ratios, None, 0, "", int8=way == INT8)
        return candidates

    def _is_near(self, speeds: Mapping[str, Speed]) -> bool:
        slower = min(_ratios(speeds[TEACHER], speeds[_served(speeds)]))
        return abs(slower / self.target.faster - 1) <= NEAR_THE_BAR

    def _against(
        self, student: Student, teacher: Teacher, prompts: Sequence[Record], tokens: int, longest: int
    ) -> dict[str, Speed]:
        models = {STUDENT: student.make()} | ({TEACHER: teacher.loaded} if teacher.loaded is not None else {})
        if self.int8:
            models[INT8] = student.make()
            turn_to_int8(models[INT8].model)
        timings = race(models, prompts, tokens, self.listener, alone=TIMED_PROMPTS, stops=False, rounds=TIMED_ROUNDS,
                       seconds=TIMED_S)  # fmt: skip
        measured = {name: timing.speed for name, timing in timings.items()}
        if isinstance(teacher, RemoteTeacher):
            measured[TEACHER] = teacher.speed(prompts[:TIMED_PROMPTS], longest)  # the first ones were asked before
        return measured

    def _tried(self, candidates: dict[str, Candidate]) -> list[str]:
        """Names of those to train, the largest first; the others get their fate."""
        fast = [c for c in candidates.values() if min(c.faster, c.throughput) >= self.target.faster]
        slow = [c for c in candidates.values() if c not in fast]
        nearest = sorted(slow, key=lambda c: -min(c.faster, c.throughput))[: 1 if not fast else 0]
        sure = [c for c in fast if min(c.faster, c.throughput) >= MARGIN * self.target.faster] or fast
        chosen = sorted(sure, key=lambda c: -c.speed.parameters)[:MOST_TRIED] or nearest
        for candidate in candidates.values():
            if candidate not in chosen:
                few = "smaller than others that are fast enough"
                barely = few if candidate in sure else f"barely {self.target.faster:g}×"
                fate = barely if candidate in fast else f"slower than {self.target.faster:g}×"
                candidates[candidate.name] = replace(candidate, fate=fate)
        return [candidate.name for candidate in chosen]

    def _try(self, student: Student, share: float, rung: int, candidates: dict[str, Candidate]) -> None:
        """A short training, of which only its quality is kept."""
        folder = self.folder / f"{rung}-{list(candidates).index(student.name)}"
        kept = folder / "quality.json"
        plan = BatchPlan(len(self.course.train), self.spec.batch_size, self.spec.seed)
        steps = max(1, round(share * plan.total(self.spec.epochs, self.spec.max_steps)))
        if not kept.exists():
            self.listener({"event": "stage", "title": f"Short training of {student.name}, {steps:,} steps"})
            objective = self.objective if student.new_ids is not None else None
            spec = self.spec.model_copy(update={"max_steps": steps, "warmup_steps": max(1, steps // 10)})
            trained = train_student(student, self.course, spec, self.sources, objective, folder, quietly(self.listener))
            after, rows = trained.outcome.after, len(self.course.validation)
            assert after is not None, "there are validation rows"
            quality = quality_of(after.exact_match, after.loss, rows, self.course.metric)
            write_json(kept, {"quality": quality.as_dict(), "loss": after.loss})
        values = json.loads(kept.read_text("utf-8"))
        self.losses[student.name] = values["loss"]
        quality = Estimate(**values["quality"])
        candidates[student.name] = replace(candidates[student.name], quality=quality, steps=steps)


def _served(speeds: Mapping[str, Speed]) -> str:
    """The faster way to serve a student: int8 where it was timed and is faster in both."""
    return INT8 if INT8 in speeds and min(_ratios(speeds[STUDENT], speeds[INT8])) > 1 else STUDENT


def _ratios(teacher: Speed, student: Speed) -> tuple[float, float]:
    """Times the teacher's speed: of one prompt at a time, of many at once."""
    return teacher.p50_ms / student.p50_ms, student.rows_per_s / teacher.rows_per_s


def _typical(timed: Sequence[Speed]) -> Speed:
    """The medians of several timings of one model."""
    p50_ms, rate = median(each.p50_ms for each in timed), median(each.rows_per_s for each in timed)
    return replace(timed[0], p50_ms=p50_ms, rows_per_s=rate)


def merit(candidate: Candidate, losses: Mapping[str, float]) -> tuple[float, float]:
    """What candidates are ranked by: quality, and between equals, as after few steps, the loss, by name."""
    return candidate.quality.value if candidate.quality else -math.inf, -losses.get(candidate.name, math.inf)


def quality_of(exact_match: float, loss: float, rows: int, metric: str | None) -> Estimate:
    """The share of validation rows that are right, or minus the loss where answers are long."""
    if metric is None:
        return Estimate(-loss, None, None, rows, "minus the validation loss")
    return wilson(exact_match * rows, rows)


def on_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates, those marked that no other beats in speed and quality both."""
    tried = [c for c in candidates if c.quality is not None]
    front = pareto_front([(min(c.faster, c.throughput), c.quality.value) for c in tried if c.quality is not None])
    best = {c.name for c, is_best in zip(tried, front, strict=True) if is_best}
    return [replace(c, on_front=c.name in best) for c in candidates]
