"""Students: given models, and models cut out of the teacher, with the rows that each learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import ModelError, UsageError
from outcrop.data.records import Record, answer_text
from outcrop.models.cutting import CutSpec, cut, measure_importance
from outcrop.models.description import size
from outcrop.models.label_tokens import with_label_tokens
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.phrase_tokens import find_merges, with_phrase_tokens
from outcrop.models.trimming import Trimmed, can_trim, trim
from outcrop.training.batches import Example
from outcrop.training.layout import Segment, Teaching

LADDER = (
    CutSpec(),
    CutSpec(depth=0.75), CutSpec(depth=0.5), CutSpec(depth=0.34), CutSpec(depth=0.2),
    CutSpec(depth=0.5, neurons=0.5), CutSpec(depth=0.34, neurons=0.5), CutSpec(depth=0.2, neurons=0.5),
    CutSpec(depth=0.5, neurons=0.5, heads=0.5, channels=0.5), CutSpec(depth=0.34, neurons=0.5, heads=0.5, channels=0.5),
)  # fmt: skip
"""Cuts that are tried, gentle ones first."""
IMPORTANCE_ROWS = 256


@dataclass(frozen=True)
class Student:
    """A model that may learn. make: builds it, the same each time; new_ids: for each of the teacher's ids the
    student's, −1 where it has none; None for a student with a tokenizer of its own, which learns from answers alone.

    origin: the model whose weights it starts from, for its card; label_ids: its token for each label, where it has one.
    """

    name: str
    make: Callable[[], LoadedModel]
    new_ids: Sequence[int] | None
    origin: str
    label_ids: tuple[int, ...] | None = None


class Lesson(NamedTuple):
    """A row to learn from: the record with its answer, that answer in the teacher's ids, and what the teacher says of
    each of them; None where it says nothing. choice: the share that it gives each label [labels]; state: the hidden
    state that it chooses from [E]."""

    answered: Record
    answer_ids: NDArray[np.int32]
    teaching: Teaching | None
    choice: NDArray[np.float32] | None = None
    state: NDArray[np.float16] | None = None


def given(name: str, reader: LoadedModel | None, sample: Sequence[Record]) -> Student:
    """A student that the user names. reader: in whose tokens the teacher's word is, None where there is none. The
    tokenizer is its own if it has the same tokens, and makes the same of the sample's rows, which probes more than
    sizes would.
    """
    if reader is None:
        return Student(name, lambda: load_model(name), None, name)
    loaded = load_model(name)
    own, theirs = loaded.tokenizer.get_vocab(), reader.tokenizer.get_vocab()
    alike = own == theirs and all(
        loaded.renderer.answer(record, answer_text(record)) == reader.renderer.answer(record, answer_text(record))
        for record in sample
    )
    new_ids = range(size(reader.tokenizer)) if alike else None
    return Student(name, lambda: load_model(name), new_ids, name)


def check_same_tokens(students: Sequence[Student], why: str) -> None:
    """Raise UsageError for students with a tokenizer of their own."""
    for student in students:
        if student.new_ids is None:
            raise UsageError(
                f"{student.name} has another tokenizer than its teacher; {why}.", "Name another student, or none."
            )


def from_teacher(
    teacher: LoadedModel, records: Sequence[Record], *, trimmed: bool, labels: Sequence[str] = (),
    answered: Sequence[Record] = (),
) -> list[Student]:  # fmt: skip
    """The teacher cut in every way of LADDER that gives another shape, by what matters on the records.

    trimmed: cut the vocabulary, too, where its tokenizer can be cut; labels: to be one token each; answered: rows whose
    phrases are to be one token each. Raises ModelError where nothing can be cut, or the tokenizer takes no such tokens.
    """
    rows = [teacher.renderer.render(record).token_ids for record in records]
    small = trim(teacher, rows) if trimmed and can_trim(teacher.tokenizer) else None
    basis = small.loaded if small else teacher
    new_ids = _numbers(small, size(teacher.tokenizer)) if small else range(size(teacher.tokenizer))
    sample = [basis.renderer.render(record).token_ids for record in records[:: max(1, len(records) // IMPORTANCE_ROWS)]]
    importance = measure_importance(basis.model, sample[:IMPORTANCE_ROWS])
    shapes: dict[tuple[int, ...], CutSpec] = {}
    for spec in LADDER:
        shapes.setdefault(_shape(basis, spec), spec)
    vocabulary = f"vocabulary {len(small.kept):,}" if small else ""

    written = [(basis.renderer.prompt(row), basis.renderer.answer(row, answer_text(row))) for row in answered]
    merges = find_merges(basis, written) if written else []

    def made(spec: CutSpec) -> LoadedModel:
        whole = LoadedModel(teacher.folder, cut(basis.model, importance, spec), basis.tokenizer, basis.renderer)
        whole = with_phrase_tokens(whole, merges) if merges else whole
        return with_label_tokens(whole, labels) if labels else whole

    ids = with_label_tokens(basis, labels).renderer.spec.label_tokens if labels else {}
    label_ids = tuple(ids[label] for label in labels) if labels else None
    told = "one token per label" if labels else f"{len(merges)} phrases" if merges else ""
    students = []
    for spec in shapes.values():
        parts = [part for part in (spec.name if spec != CutSpec() else "", vocabulary, told) if part]
        if parts:
            students.append(
                Student(", ".join(parts), partial(made, spec), new_ids, teacher.folder.name, label_ids)
            )  # fmt: skip
    return students


def examples_of(student: Student, loaded: LoadedModel, lessons: Sequence[Lesson]) -> list[Example]:
    """The rows as the student learns them, with the teacher's word in the student's ids where there is one, and its
    states where they are as wide as the student's.

    Raises ModelError for a row whose answer the two tokenise differently.
    """
    examples: list[Example] = []
    width = loaded.model.config.hidden_size
    numbers = None if student.new_ids is None else np.array(student.new_ids, np.int32)
    for lesson in lessons:
        row = loaded.renderer.render(lesson.answered)
        ids, weights = np.array(row.token_ids, np.int32), np.array(row.weights, np.float32)
        teaching = lesson.teaching
        if student.label_ids is not None:
            teaching = None if lesson.choice is None else as_choice(student.label_ids, lesson)
        elif teaching is not None and numbers is not None:
            theirs, own = numbers[lesson.answer_ids], ids[weights != 0]
            written = loaded.renderer.runs(own.tolist())
            if np.array_equal(theirs, own):
                teaching = in_students_ids(teaching, numbers)
            elif theirs.tolist() == [token for run in written for token in run]:
                teaching = of_phrases(teaching, lesson.answer_ids, own, [len(run) for run in written])
            else:
                raise ModelError(
                    f"{student.name} and its teacher tokenise an answer differently.",
                    "Take another student, or leave the row out.", str(lesson.answered.origin),
                )  # fmt: skip
        if teaching is not None and teaching.states is not None and teaching.states.shape[-1] != width:
            teaching = teaching._replace(states=None)
        examples.append((Segment(ids, weights, teaching),))
    return examples


def hears_states(student: Student, loaded: LoadedModel, lesson: Lesson) -> bool:
    """Whether it learns from its teacher's states: they are there, and as wide as its own."""
    ((segment,),) = examples_of(student, loaded, [lesson])
    return segment.teaching is not None and segment.teaching.states is not None


def as_choice(label_ids: Sequence[int], lesson: Lesson) -> Teaching:
    """The teacher's shares of the labels as its word on the one token of an answer, and its state there."""
    assert lesson.choice is not None, "a lesson on a choice"
    states = None if lesson.state is None else lesson.state[None]
    shares, rest = lesson.choice[None].astype(np.float32), np.zeros(1, np.float32)
    return Teaching(np.array([label_ids], np.int32), shares, rest, states=states)


def in_students_ids(teaching: Teaching, numbers: NDArray[np.int32]) -> Teaching:
    """The same with the student's ids; what it has no token for joins the rest."""
    ids = numbers[teaching.ids]
    known = (ids >= 0) & (teaching.probabilities > 0)
    probabilities = np.where(known, teaching.probabilities, 0).astype(np.float32)
    lost = teaching.probabilities.sum(-1) - probabilities.sum(-1)
    rest = (teaching.rest + lost).astype(np.float32)
    return teaching._replace(ids=np.where(known, ids, 0), probabilities=probabilities, rest=rest)


def of_phrases(
    teaching: Teaching, answer_ids: NDArray[np.int32], phrase_ids: NDArray[np.int32], lengths: Sequence[int]
) -> Teaching:
    """The teacher's word on an answer in phrases, so many tokens each: how likely it was to write each phrase. All else
    is the rest, for the tokens that it might have begun with are other phrases. States are those before a phrase."""
    said = (teaching.probabilities * (teaching.ids == answer_ids[:, None])).sum(-1)
    firsts = np.cumsum([0, *lengths[:-1]])
    likely = np.multiply.reduceat(said, firsts)[:, None].astype(np.float32)
    states = None if teaching.states is None else teaching.states[firsts]
    return Teaching(phrase_ids[:, None], likely, 1 - likely[:, 0], states=states)


def _numbers(small: Trimmed, size: int) -> list[int]:
    numbers = [-1] * size
    for new, old in enumerate(small.kept):
        numbers[old] = new
    return numbers


def _shape(basis: LoadedModel, spec: CutSpec) -> tuple[int, ...]:
    config = basis.model.config
    sizes = (config.num_hidden_layers, config.intermediate_size, config.num_key_value_heads, config.hidden_size)
    shares = (spec.depth, spec.neurons, spec.heads, spec.channels)
    return tuple(max(1, round(size * share)) for size, share in zip(sizes, shares, strict=True))
