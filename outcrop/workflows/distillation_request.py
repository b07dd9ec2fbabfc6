"""What a distillation is asked for: checked before any data are read, then opened."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from outcrop.core.errors import ModelError, UsageError
from outcrop.core.events import Listener
from outcrop.generation.remote import RemoteChat, RemoteSpec, is_remote
from outcrop.models import label_tokens, phrase_tokens
from outcrop.models.folder import ModelFolder, find_model
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.new_tokens import vocabulary_of
from outcrop.models.plain_weights import require_floats
from outcrop.models.precision import without_timing
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.quantising import check_wish
from outcrop.workflows.records import Source
from outcrop.workflows.teacher_terms import settle_terms
from outcrop.workflows.teachers import LocalTeacher, RemoteTeacher, Teacher, open_cache

AUTO, LABELS, PHRASES = WAYS = ("auto", "labels", "phrases")
"""Students that are the teacher cut in many ways: as it is, with a token for each label, or for phrases of its rows."""
LABEL_MASS = 0.99
"""Share of the labels' likelihood that is weighed label by label for students with a token for each."""


class Models(NamedTuple):
    """The teacher and the students that were named; reader: whose renderer and card say how rows are read: the
    teacher's own, or the first student's where the teacher is remote."""

    teacher: Teacher
    reader: LoadedModel
    named: list[LoadedModel]

    @property
    def readers(self) -> list[Any]:
        """The renderers of all models here."""
        return [loaded.renderer for loaded in (self.reader, *self.named)]

    @property
    def known_labels(self) -> Sequence[str]:
        """What a local teacher was trained to answer."""
        return self.teacher.loaded.folder.labels if self.teacher.loaded else ()

    def as_read_before(self, source: Source) -> Source:
        """The rows read as the reader's own were, where nothing else is said and they are no split's."""
        stored = self.reader.folder.card.get("source")
        is_folder = len(source.paths) == 1 and Path(source.paths[0]).is_dir()
        if source.mapping() or source.format or is_folder or not isinstance(stored, dict):
            return source
        return Source(source.paths, **stored, drop_bad_rows=source.drop_bad_rows)


@dataclass(frozen=True)
class Asked:
    """What the user asks for, checked."""

    spec: TrainingSpec
    objective: DistillationSpec
    remote: RemoteSpec
    instruction: str
    students: list[str]
    hourly_price: float | None
    accept_teacher_terms: bool
    int8: str

    def check(self, teacher: str, students: Sequence[str], *, cascade: bool) -> None:
        """Raises UsageError or ModelError for what can be seen to be wrong without reading any data."""
        if self.spec.method != "full":
            wrong = f"A student is a whole model, which method {self.spec.method} does not make."
            raise UsageError(wrong, "Use --method full.")
        if self.spec.label_smoothing:
            raise UsageError("A teacher's distribution is not smoothed.", "Leave --label-smoothing out.")
        check_wish(self.int8)
        if self.hourly_price is not None and not 0 < self.hourly_price < math.inf:
            wrong = f"A price of {self.hourly_price:g} USD for an hour of this machine tells nothing."
            raise UsageError(wrong, "Give --hourly-price above 0, or leave it out: costs are then told in seconds.")
        if not is_remote(teacher):
            require_floats(find_model(teacher), "distillation")
            if self.instruction:
                raise UsageError("An instruction is for remote teachers.", "Put it into --template.")
        elif self.objective.on_policy_share:
            wrong = "A remote teacher does not say how likely a student's own answers are."
            raise UsageError(wrong, "Leave --objective on_policy_share out.")
        elif self.objective.states_weight:
            raise UsageError("A remote teacher does not tell its states.", "Leave --objective states_weight out.")
        elif cascade:
            raise UsageError("A cascade needs its teacher's weights, and this one is remote.", "Leave --cascade out.")
        elif not set(WAYS).isdisjoint(students):
            remedy = f"Name students alone, none of {', '.join(WAYS)}: --student MODEL."
            raise UsageError("A remote teacher's weights are not here to be cut.", remedy)
        _check_own_tokens(students, self.objective, cascade=cascade)
        for name in self.students:
            require_floats(_student_folder(name), "distillation")
        if is_remote(teacher):
            settle_terms(teacher, accepts=self.accept_teacher_terms)

    def open(self, teacher: str, listener: Listener, *, weighed: float) -> Models:
        """Load the models. Raises UsageError where a remote teacher lacks a key."""
        named = [load_model(name) for name in self.students]
        if is_remote(teacher):
            chat = RemoteChat(teacher, self.remote)
            terms = settle_terms(teacher, accepts=self.accept_teacher_terms)
            master = RemoteTeacher(chat, open_cache(), listener, instruction=self.instruction, terms=terms)
            return Models(master, named[0], named)
        temperature = self.objective.temperature if weighed else 1.0
        loaded = load_model(teacher)
        explaining = without_timing(self.spec.precision, loaded.model.device)
        local = LocalTeacher(loaded, open_cache(), listener, weighed=weighed, temperature=temperature,
                             explaining=explaining)  # fmt: skip
        return Models(local, local.loaded, named)

    def context(self, models: Models) -> int:
        """The longest row that every model can be given."""
        return min(self.spec.max_length or 1 << 30, *(loaded.context for loaded in (models.reader, *models.named)))


def _check_own_tokens(students: Sequence[str], objective: DistillationSpec, *, cascade: bool) -> None:
    """Raise UsageError for what does not go with students that have tokens of their own."""
    if {LABELS, PHRASES}.isdisjoint(students):
        return
    own = "labels or phrases as tokens are the student's own"
    if cascade:
        wrong = f"A cascade needs students with its teacher's tokens, and {own}."
        raise UsageError(wrong, "Leave out --student labels and --student phrases, or --cascade.")
    if objective.on_policy_share:
        wrong = f"What on-policy students write their teacher must read, and {own}."
        raise UsageError(wrong, "Leave out --student labels and --student phrases, or --objective on_policy_share.")


def check_teacher(teacher: Teacher, students: Sequence[str], *, cascade: bool) -> None:
    """Raise ModelError or UsageError for a teacher here whose tokens do not go with what is made of it."""
    if teacher.loaded is None:
        return
    for way, what, remedy in ((LABELS, label_tokens.LABELS, label_tokens.WRITE),
                              (PHRASES, phrase_tokens.PHRASES, phrase_tokens.WRITE)):  # fmt: skip
        if way in students:
            vocabulary_of(teacher.loaded, what, remedy)
    spec = teacher.loaded.renderer.spec
    if cascade and (spec.label_tokens or spec.phrases):
        wrong = f"{teacher.name} has labels or phrases as tokens, and a cascade's models write with plain ones."
        raise UsageError(wrong, "Leave --cascade out.")


def _student_folder(name: str) -> ModelFolder:
    """Raises ModelError, or UsageError for a word of --student that was mistyped."""
    try:
        return find_model(name)
    except ModelError:
        if meant := difflib.get_close_matches(name, WAYS, n=1):
            raise UsageError(f"There is no model folder {name}.", f"Did you mean: --student {meant[0]}?") from None
        raise
