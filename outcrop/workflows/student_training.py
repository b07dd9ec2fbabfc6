"""One student's training: the loop of every tuning, on a teacher's word or on answers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from outcrop.core.events import Event, Listener
from outcrop.models.loading import LoadedModel, load_model
from outcrop.training.batches import Example
from outcrop.training.distillation.objective import Distillation, mean_divergence
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.engine import TrainingEngine
from outcrop.training.loop import Outcome, Task, TrainingRun
from outcrop.training.scoring import score_rows, summarise
from outcrop.training.spec import TrainingSpec
from outcrop.training.trunk import Trunk
from outcrop.workflows.on_policy import OwnAnswers
from outcrop.workflows.resolving import ResolvedSpec, resolve
from outcrop.workflows.students import Lesson, Student, examples_of

WATCHED_LESSONS = 256
"""Held-out rows on which the distance to the teacher is measured."""


@dataclass(frozen=True)
class Course:
    """What is to be learnt. train: with the teacher's word where it is used; validation: rows that weights are chosen
    by; watched: held-out rows with the teacher's word or answers; metric: as for training.loop.Task."""

    train: Sequence[Lesson]
    validation: Sequence[Lesson]
    watched: Sequence[Lesson]
    metric: str | None
    identity: dict[str, str]


class Trained(NamedTuple):
    """A student after its training, the engine holding its weights, and its distance to the teacher on watched rows
    before and after: the divergence, or the loss on the teacher's answers."""

    loaded: LoadedModel
    engine: TrainingEngine
    resolved: ResolvedSpec
    outcome: Outcome
    distance: tuple[float, float]


def train_student(
    student: Student, course: Course, spec: TrainingSpec, sources: Mapping[str, str],
    objective: DistillationSpec | None, folder: Path, listener: Listener, behind: str | None = None,
) -> Trained:  # fmt: skip
    """Train in `folder`, or go on there. objective: None for cross-entropy with the answers; behind: the teacher's
    name, where the objective has a share of the student's own answers."""
    loaded = student.make()
    folder.mkdir(parents=True, exist_ok=True)
    train = examples_of(student, loaded, _spoken(course.train, objective))
    validation = examples_of(student, loaded, _spoken(course.validation, None))
    watched = examples_of(student, loaded, _spoken(course.watched, objective))
    resolved = resolve(spec, sources, loaded, len(train), listener, folder)
    wanted = Distillation(objective) if objective else None
    engine = TrainingEngine(loaded.model, resolved.spec, resolved.precision.dtype, wanted)
    if student.label_ids is not None:  # as it will be asked: for one of the labels
        engine.answers_from = min(student.label_ids)
    before = distance(engine, watched, objective)
    told = objective.model_dump() if objective else {}
    identity = {**course.identity, "student": student.name, "objective": str(told)}
    renew = None
    if objective and objective.on_policy_share and behind is not None:
        longest = max(int((segment.weights != 0).sum()) for (segment,) in train)
        records = [lesson.answered for lesson in course.train]
        teacher = Trunk(load_model(behind).model)
        renew = OwnAnswers(
            student, student.make(), engine, teacher, records, objective, longest, resolved.spec.seed
        )  # fmt: skip
    task = Task(train, validation, course.metric, identity, renew)
    outcome = TrainingRun(engine, task, resolved.spec, folder, listener).run()
    return Trained(loaded, engine, resolved, outcome, (before, distance(engine, watched, objective)))


def distance(engine: TrainingEngine, watched: Sequence[Example], objective: DistillationSpec | None) -> float:
    """Nats per token between student and teacher: the divergence, or the loss on the teacher's answers."""
    tokens = engine.spec.micro_batch_tokens
    if objective is None:
        return summarise(score_rows(engine.trunk, watched, tokens, engine.answers_from)).loss
    return mean_divergence(engine.trunk, watched, objective, tokens)


def quietly(listener: Listener, title: str = "Short training") -> Listener:
    """A listener for trainings beside the one that matters: it hears of steps as of progress, and of warnings."""

    def heard(event: Event) -> None:
        if event["event"] == "step":
            listener({"event": "progress", "title": title, "done": event["step"], "total": event["steps"]})
        elif event["event"] == "warning" and event["code"] != "overfitting":
            listener(event)

    return heard


def _spoken(lessons: Sequence[Lesson], objective: DistillationSpec | None) -> list[Lesson]:
    """The lessons with the teacher's word, or without."""
    return [lesson if objective else lesson._replace(teaching=None, choice=None, state=None) for lesson in lessons]


def described(objective: DistillationSpec | None) -> dict[str, Any] | None:
    """The objective, for a card."""
    return objective.model_dump() if objective else None
