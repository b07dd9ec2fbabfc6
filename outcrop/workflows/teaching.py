"""From rows and a teacher to what students learn: answers, the teacher's word on each, and the answers of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from outcrop.core.errors import DataError
from outcrop.core.events import Listener
from outcrop.data.prompts import has_answer, with_answer
from outcrop.data.records import Pair, Record, answer_text
from outcrop.generation.choosing import shares
from outcrop.models.rendering import Renderer
from outcrop.training.distillation.spec import STATES_WEIGHT, DistillationSpec
from outcrop.training.layout import Segment, Teaching
from outcrop.workflows.hearing import Ear, listen
from outcrop.workflows.lessons import Lessons
from outcrop.workflows.student_training import WATCHED_LESSONS, Course
from outcrop.workflows.students import Lesson
from outcrop.workflows.teachers import LocalTeacher, RemoteTeacher, Teacher

SHORT_ANSWER_TOKENS = 32


@dataclass(frozen=True)
class Taught:
    """course: what students learn; gold: the same rows with their own answers, None where they have none; references:
    the test rows with the answers they are scored by; typical_tokens: of an answer; label_rows: each label as an
    answer, so that a trimmed vocabulary can write it; provenance: whose answers, how many; notes for the report;
    has_word: whether lessons hold the teacher's word on each token, and if not, `why`."""

    lessons: Lessons
    course: Course
    gold: Course | None
    references: list[Record]
    typical_tokens: int
    label_rows: list[Record]
    provenance: dict[str, Any]
    notes: tuple[str, ...]
    has_word: bool
    why: str

    @property
    def texts(self) -> list[Record]:
        """Every row that students meet in training, each as they meet it: a vocabulary must hold all of them."""
        own = self.gold.train if self.gold else ()
        met = (*self.course.train, *self.course.validation, *self.course.watched, *own)
        return [*(lesson.answered for lesson in met), *self.label_rows]


def taught(
    teacher: Teacher, renderer: Renderer, lessons: Lessons, objective: DistillationSpec, longest: int, *, relabel: bool,
    seed: int, listener: Listener, choosing: bool = False, explaining: bool = True, states: bool = False,
) -> Taught:  # fmt: skip
    """Ask the teacher for the answers that are missing (all, to relabel); explaining: and for its word on every token
    of them; choosing: for what share it gives each label; states: for its states at every token, where answers are
    short and the objective leaves that open.

    An answer that did not end in time is left out and counted. Raises DataError where none is left.
    """
    listener({"event": "stage", "title": "The teacher answers"})
    notes = list(lessons.notes)
    train = _answered(teacher, lessons.train, lessons.labels, longest, again=relabel)
    watched = _answered(teacher, lessons.validation[:WATCHED_LESSONS], lessons.labels, longest, again=True)
    validation = _answered(teacher, lessons.validation, lessons.labels, longest, again=False)
    references = _answered(teacher, lessons.test, lessons.labels, longest, again=False)
    counts = {"training": (len(lessons.train), len(train)), "test": (len(lessons.test), len(references))}
    notes += _told_of_cut_answers(counts, longest, listener)
    if not (train and validation and references):
        raise DataError("No rows with an answer are left.", "Give rows that the teacher can answer.")
    own = sum(has_answer(record) for record in lessons.train) if not relabel else 0
    provenance = {"teacher": teacher.name, "by the teacher": len(train) - own, "of the data": own}
    if not lessons.tested_on_gold:
        notes.append("Test rows have no answers of their own: scores are agreement with the teacher's.")
    if isinstance(teacher, LocalTeacher) and explaining:
        listener({"event": "stage", "title": "The teacher says how likely other words were"})
    ear, why = None, ""
    if isinstance(teacher, RemoteTeacher):
        ear, why = _listened(teacher, renderer, train, lessons.labels, objective, notes, listener)
    lengths = [len(renderer.answer(record, answer_text(record))) for record in train]
    metric = "exact_match" if median(lengths) <= SHORT_ANSWER_TOKENS else None
    identity = {**lessons.digests, "teacher": teacher.identity, "relabel": str(relabel)}
    told = _asked_for(objective, states=states and metric is not None) if explaining else None
    course = Course(
        explained(teacher, renderer, train, told, seed, ear), explained(teacher, renderer, validation, None, seed),
        explained(teacher, renderer, watched, told, seed, ear), metric, identity,
    )  # fmt: skip
    if choosing and isinstance(teacher, LocalTeacher) and lessons.labels:
        course = _choosing(course, teacher, lessons.labels, objective)
    teacher.close()
    gold = None
    if lessons.has_gold:
        gold = replace(
            course, train=explained(teacher, renderer, lessons.train, None, seed), identity={**identity, "gold": "only"}
        )
    return Taught(
        replace(lessons, notes=tuple(notes)), course, gold, references, max(1, round(median(lengths))),
        [Pair("a", label) for label in lessons.labels or ()], provenance, tuple(notes),
        isinstance(teacher, LocalTeacher) or ear is not None, why,
    )  # fmt: skip


def _asked_for(objective: DistillationSpec, *, states: bool) -> DistillationSpec:
    """The objective, with the teacher's states where they are wanted and it leaves that open."""
    open_ = states and objective.states_weight is None
    return objective.model_copy(update={"states_weight": STATES_WEIGHT}) if open_ else objective


def _listened(
    teacher: RemoteTeacher, renderer: Renderer, train: Sequence[Record], labels: Sequence[str] | None,
    objective: DistillationSpec, notes: list[str], listener: Listener,
) -> tuple[Ear | None, str]:  # fmt: skip
    """What it told of its tokens, or why that cannot be used; said in the notes, too."""
    ear, why, sentence = listen(teacher, renderer, train, labels, objective)
    notes.append(sentence)
    listener({"event": "stage", "title": sentence.rstrip(".")})
    return ear, why


def _told_of_cut_answers(counts: Mapping[str, tuple[int, int]], longest: int, listener: Listener) -> list[str]:
    """A warning for each part of which rows are left out. counts: rows that were given and are kept, by part."""
    notes = [
        f"{given - kept:,} of {given:,} {name} rows are left out: the teacher's answer did not end within "
        f"{longest:,} tokens, or is none of the labels."
        for name, (given, kept) in counts.items()
        if kept < given
    ]
    for note in notes:
        listener({"event": "warning", "code": "cut-answers", "message": note})
    return notes


def _answered(
    teacher: Teacher, records: Sequence[Record], labels: Sequence[str] | None, longest: int, *, again: bool
) -> list[Record]:
    """The records with an answer each: their own, or the teacher's where they have none, or all `again`."""
    asked = [row for row, record in enumerate(records) if again or not has_answer(record)]
    answers = dict(zip(asked, teacher.answers([records[row] for row in asked], labels, longest), strict=True))
    found = []
    for row, record in enumerate(records):
        answer = answers.get(row, "")
        if row not in answers:
            found.append(record)
        elif answer:
            found.append(with_answer(record, answer))
    return found


def _choosing(course: Course, teacher: LocalTeacher, labels: Sequence[str], objective: DistillationSpec) -> Course:
    train, watched = (with_choices(teacher, part, labels, objective) for part in (course.train, course.watched))
    return replace(course, train=train, watched=watched)


def with_choices(
    teacher: LocalTeacher, lessons: Sequence[Lesson], labels: Sequence[str], objective: DistillationSpec
) -> list[Lesson]:
    """The lessons with the share that the teacher gives each label, its likelihoods divided by the temperature, and
    with its states unless the objective leaves them out."""
    records = [lesson.answered for lesson in lessons]
    taught = shares(teacher.label_logprobs(records, labels).astype(np.float64) / objective.temperature)
    states = teacher.states(records) if objective.states_weight != 0 else [None] * len(records)
    return [
        lesson._replace(choice=row, state=state)
        for lesson, row, state in zip(lessons, taught.astype(np.float32), states, strict=True)
    ]


def explained(
    teacher: Teacher, renderer: Renderer, records: Sequence[Record], objective: DistillationSpec | None, seed: int,
    ear: Ear | None = None,
) -> list[Lesson]:  # fmt: skip
    """The records as lessons, with the teacher's word where there is an objective that needs it and it can say it.

    ear: for what a remote teacher told.
    """
    rows = [renderer.render(record) for record in records]
    segments = [Segment(np.array(row.token_ids, np.int32), np.array(row.weights, np.float32)) for row in rows]
    said: Sequence[Teaching | None] = [None] * len(records)
    if objective is not None and isinstance(teacher, LocalTeacher):
        said = teacher.teachings(segments, objective, seed)
    elif objective is not None and ear is not None:
        said = ear.teachings(records, [segment.ids[segment.weights != 0].tolist() for segment in segments])
    return [
        Lesson(record, segment.ids[segment.weights != 0], teaching)
        for record, segment, teaching in zip(records, segments, said, strict=True)
    ]
