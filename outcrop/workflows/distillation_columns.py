"""The columns of a distillation's proof: the teacher prompted and tuned, the student before, on gold, and distilled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from outcrop.core.errors import ModelError
from outcrop.data.records import Conversation, Message, Pair, Record, answer_text, prompt_text
from outcrop.evaluation.comparison import Answered
from outcrop.evaluation.metrics.metric import Example
from outcrop.models.asking import TUNED
from outcrop.models.folder import find_model
from outcrop.models.loading import LoadedModel, load_model
from outcrop.workflows.cascading import Behind
from outcrop.workflows.measure import System, TestRows, ask, worked_examples
from outcrop.workflows.quantising import Tried
from outcrop.workflows.student_search import Found
from outcrop.workflows.student_training import Trained
from outcrop.workflows.teachers import LocalTeacher, RemoteTeacher, Teacher

TEACHER, PROMPTED = "teacher", "teacher before tuning"
BEFORE, GOLD, STUDENT = "student before", "student, answers of the data only", "student, distilled"
INT8 = "student, int8"
CASCADE = "cascade"
USUAL_SHOTS = 4


class Columns(NamedTuple):
    """What is measured: the teacher, the student before training, the same student without the teacher where there is
    one, and the folder of the distilled one, from which it is loaded as it will be served; behind: the cascade of both;
    int8: what came of trying its weights in int8.

    shots: worked examples before the prompts of a teacher that was not tuned; None for USUAL_SHOTS of a local teacher
    and none of a remote one, which is paid for each.
    """

    teacher: Teacher
    before: LoadedModel
    gold: LoadedModel | None
    folder: str
    longest: int
    shots: int | None
    behind: Behind | None
    int8: Tried

    @property
    def made(self) -> str:
        """What is proven."""
        return CASCADE if self.behind else INT8 if self.int8.floats else STUDENT

    def load_made(self) -> LoadedModel:
        """The model that is proven, as it will be served."""
        return load_model(self.behind.folder if self.behind else self.folder)

    @property
    def wanted_shots(self) -> int:
        """How many worked examples a teacher that is only prompted gets."""
        usual = USUAL_SHOTS if isinstance(self.teacher, LocalTeacher) else 0
        return usual if self.shots is None else self.shots


class Measured(NamedTuple):
    """Systems on this machine, answers of a teacher elsewhere, and what a reader must know of columns that are not
    there."""

    systems: list[System]
    from_afar: list[Answered]
    notes: list[str]


def columns_of(
    columns: Columns, student: LoadedModel, found: Found, trained: Trained, rows: TestRows, seed: int
) -> Measured:
    """Every column that there can be."""
    shots, notes = columns.wanted_shots, []
    from_afar, systems = [], []
    if isinstance(columns.teacher, RemoteTeacher):
        from_afar = list(_from_afar(columns.teacher, rows, columns.longest, shots, seed))
        if shots and len(from_afar) == 1:
            notes.append(_no_examples(rows, shots))
    else:
        teacher = load_model(columns.teacher.name)
        systems = list(_prompted_and_tuned(teacher, rows, shots, seed))
        notes = _missing(teacher, systems, rows, shots)

    def asked(name: str, described: str, loaded: LoadedModel, minutes: float | None = None) -> System:
        return System.of(name, f"{found.student.name}, {described}", loaded, ask(loaded, rows, 0, seed), minutes)

    systems.append(asked(BEFORE, "not trained yet", columns.before))
    if columns.gold is not None:
        systems.append(asked(GOLD, "the same training without the teacher", columns.gold))
    floats, steps = columns.int8.floats or student, f"{trained.outcome.steps:,} steps"
    systems.append(asked(STUDENT, steps, floats, trained.outcome.minutes))
    if columns.int8.floats is not None:
        systems.append(asked(INT8, "its weights in int8", student))
    if columns.behind is not None:
        systems.append(asked(CASCADE, "where it is sure, else the teacher", columns.load_made()))
    return Measured(systems, from_afar, notes)


def _prompted_and_tuned(teacher: LoadedModel, rows: TestRows, shots: int, seed: int) -> Iterator[System]:
    """The model before tuning, where it is there, then the teacher; the one that is only prompted with worked examples,
    too."""
    base, name = _base_of(teacher), teacher.folder.name
    if base is not None:
        described = f"{base.folder.name}, which the teacher was tuned from"
        yield System.of(PROMPTED, described, base, ask(base, rows, 0, seed))
        if _is_tuned(teacher):
            yield from _with_shots(PROMPTED, described, base, rows, shots, seed)
    yield System.of(TEACHER, name, teacher, ask(teacher, rows, 0, seed))
    if not _is_tuned(teacher):
        yield from _with_shots(TEACHER, name, teacher, rows, shots, seed)


def _with_shots(
    name: str, described: str, loaded: LoadedModel, rows: TestRows, shots: int, seed: int
) -> Iterator[System]:
    if not shots or not _can_show(rows, shots):
        return
    asked = ask(loaded, rows, shots, seed)
    if any(asked.shots):
        described = f"{described}, with {shots} worked examples in the prompt"
        yield System.of(f"{name}, {shots}-shot", described, loaded, asked)


def _missing(teacher: LoadedModel, systems: Sequence[System], rows: TestRows, shots: int) -> list[str]:
    """Why there is no column of a prompted teacher, or none with worked examples."""
    notes = []
    tuned, has_base = _is_tuned(teacher), any(system.name == PROMPTED for system in systems)
    if tuned and not has_base:
        notes.append("The model that the teacher was tuned from is not here, so there is no teacher that is prompted.")
    elif tuned and any("-shot" in system.name for system in systems):
        notes.append(
            "The teacher was tuned on prompts without worked examples and is measured without them; they stand before "
            "the prompts of the model that it was tuned from."
        )
    if shots and (has_base or not tuned) and not any("-shot" in system.name for system in systems):
        notes.append(_no_examples(rows, shots))
    return notes


def _no_examples(rows: TestRows, shots: int) -> str:
    few = f"they take {shots} training rows with answers of the data"
    reason = "no room for one" if _can_show(rows, shots) else few
    if not all(isinstance(record, Pair) for record in rows.records):
        reason = "the rows are conversations"
    return f"No teacher was prompted with worked examples: {reason}."


def _can_show(rows: TestRows, shots: int) -> bool:
    pairs = all(isinstance(record, Pair) for record in rows.records)
    return pairs and sum(isinstance(record, Pair) for record in rows.shot_pool) >= shots


def _is_tuned(teacher: LoadedModel) -> bool:
    """Trained on prompts of a task as they are: worked examples before them would mislead it."""
    return teacher.folder.card.get("kind") in TUNED


def _base_of(teacher: LoadedModel) -> LoadedModel | None:
    """The model that the teacher was tuned from, where its card names one that is still there and still the same."""
    told = teacher.folder.card.get("base") or {}
    try:
        folder = find_model(str(told.get("name", "")))
        return load_model(folder.name) if folder.digest() == told.get("digest") else None
    except ModelError:
        return None


def _from_afar(teacher: RemoteTeacher, rows: TestRows, longest: int, shots: int, seed: int) -> Iterator[Answered]:
    """A remote teacher's answers to the test rows; where a test row was answered by it, they were asked before."""
    described = f"{teacher.name}, times with its network"
    yield _replied(teacher, TEACHER, described, rows, rows.records, longest)
    if shots and _can_show(rows, shots):
        pool = [record for record in rows.shot_pool if isinstance(record, Pair)]
        asked = [_as_turns(record, worked_examples(pool, shots, seed, n)) for n, record in enumerate(rows.records)]
        described = f"{described}, with {shots} worked examples as turns before the prompt"
        yield _replied(teacher, f"{TEACHER}, {shots}-shot", described, rows, asked, longest)


def _replied(
    teacher: RemoteTeacher, name: str, described: str, rows: TestRows, asked: Sequence[Record], longest: int
) -> Answered:
    replies = teacher.replies(asked, longest)
    examples = [
        Example(prompt_text(record), (answer_text(record).strip(),), reply.text.strip(), rows.labels)
        for record, reply in zip(rows.records, replies, strict=True)
    ]
    counted = tuple(reply.output_tokens for reply in replies) if all(r.output_tokens for r in replies) else None
    return Answered(
        name, described, tuple(examples), counted, tuple(1000 * r.seconds for r in replies),
        tuple(r.finished for r in replies),
    )  # fmt: skip


def _as_turns(record: Record, shots: Sequence[Pair]) -> Record:
    """A prompt with worked examples as earlier turns."""
    assert isinstance(record, Pair), "worked examples stand before prompts of pairs"
    turns = [Message(*turn) for shot in shots for turn in (("user", shot.prompt), ("assistant", shot.completion))]
    return Conversation((*turns, Message("user", record.prompt)), record.origin)
