"""`distill`: a teacher and prompts in, the smallest student that keeps its quality out, with the proof."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from outcrop.core import settings as environment
from outcrop.core.errors import ModelError, UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import write_atomic, write_json
from outcrop.core.invocation import repeatable
from outcrop.data.card import stated_of
from outcrop.data.certificate import line_of
from outcrop.data.prompts import has_answer
from outcrop.data.records import answer_text
from outcrop.evaluation.distillation import DistillationFacts, Target
from outcrop.evaluation.metrics.catalog import METRICS
from outcrop.evaluation.results import EvaluationResult
from outcrop.generation.remote import RemoteChat, RemoteSpec, is_remote
from outcrop.models.cascade import refuse_cascade
from outcrop.models.folder import STUDENT, ModelFolder, extend_card, find_model
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.saving import save_card
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.journal import read_journal, write_metrics
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.cascading import Behind, Cascade, check_cascade, save_cascade
from outcrop.workflows.distillation_columns import Columns
from outcrop.workflows.distillation_report import Bill, check_answers, check_metric, decided_by, prove
from outcrop.workflows.lessons import Lessons, card_of, check_choosing, gather_lessons, usable
from outcrop.workflows.measure import TestRows
from outcrop.workflows.records import Source
from outcrop.workflows.resolving import parse_settings
from outcrop.workflows.run_folder import BASELINE, RESULT, RUN, SEARCH, SECONDS, run_folder
from outcrop.workflows.saving import save_description, save_model
from outcrop.workflows.stage_clock import StageClock
from outcrop.workflows.student_search import Found, Search
from outcrop.workflows.student_training import Trained, described, quietly, train_student
from outcrop.workflows.students import Student, check_same_tokens, from_teacher, given
from outcrop.workflows.teacher_terms import settle_terms
from outcrop.workflows.teachers import LocalTeacher, RemoteTeacher, Teacher, longest_label, open_cache, provenance_of
from outcrop.workflows.teaching import Taught, taught

AUTO, LABELS = "auto", "labels"
"""Students that are the teacher cut in many ways: as it is, and with a token for each label."""
TEACHER_ROWS = "teacher.jsonl"
"""The teacher's answers as a data set, in the target."""
LONGEST_ANSWER = 256
"""Tokens of an open answer of the teacher, where the rows have none to go by."""
PROBED_ROWS = 50
"""Rows on which tokenizers are compared."""


@dataclass(frozen=True)
class DistillResult:
    """A student and its proof. model: its folder; cost: the account in words; facts: candidates, speeds, loss with its
    bound, the account; evaluation: every system on the test rows."""

    model: str
    verdict: str
    cost: str
    target_met: bool
    student: str
    parameters: int
    minutes: float
    notes: tuple[str, ...]
    report: str
    facts: DistillationFacts
    evaluation: EvaluationResult

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        plain = {name: value for name, value in vars(self).items() if name not in ("facts", "evaluation")}
        return {**plain, "facts": self.facts.as_dict(), "evaluation": self.evaluation.as_dict()}


@repeatable
def distill(
    teacher: str,
    data: Sequence[str],
    to: str,
    *,
    students: Sequence[str] = (AUTO,),
    within: float = 2.0,
    faster: float = 5.0,
    metric: str = "",
    cascade: bool = False,
    validation: Sequence[str] = (),
    test: Sequence[str] = (),
    relabel: bool = False,
    trim: bool = True,
    instruction: str = "",
    longest_answer: int | None = None,
    objective: Mapping[str, Any] | None = None,
    remote: Mapping[str, Any] | None = None,
    accept_teacher_terms: bool = False,
    hourly_price: float | None = None,
    shots: int | None = None,
    settings: Mapping[str, Any] | None = None,
    sources: Mapping[str, str] | None = None,
    columns: str = "",
    template: str = "",
    roles: str = "",
    format: str = "",
    where: Sequence[str] = (),
    drop_bad_rows: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    listener: Listener = ignore,
) -> DistillResult:
    """Find, train and measure the best student that is `faster` times as fast as the teacher, and save it at `to`.

    teacher: a model, or a remote one as openai:MODEL@URL or bedrock:MODEL; data: prompts, with or without answers;
    relabel: the teacher answers rows that have an answer, too, and their own trains the student that is compared with.
    students: model names, "auto" for the teacher cut in many ways, "labels" for the same with a token for each label.
    within: points of the metric that may be lost;
    metric: one of the catalog, none for the one that fits the answers. cascade: the student answers what it is sure of,
    the teacher the rest, as one model.
    instruction: a system message for a remote teacher; longest_answer: tokens that it may answer with, where its
    answers are no closed set; where: filters of invocation logs.
    accept_teacher_terms: the terms of a remote teacher allow to train on its answers; remembered, so said once.
    objective, remote: fields of DistillationSpec and RemoteSpec. hourly_price: USD for an hour of this machine; without
    it costs are told in its seconds. shots: worked examples for a teacher that is only prompted, in a column of its
    own; by default 4 of a local teacher, and none of a remote one, which is paid for them.
    Raises UserErrors for what the user can mend, before training; nothing is left at `to` unless all went well.
    """
    torch.set_num_threads(environment.threads())
    asked = _Asked(
        parse_settings(settings or {}), DistillationSpec.parse(objective or {}), RemoteSpec.parse(remote or {}),
        instruction, [name for name in students if name not in (AUTO, LABELS)], hourly_price,
        accept_teacher_terms,
    )  # fmt: skip
    target = Target(within, faster, metric).checked()
    asked.check(teacher, cut_up=AUTO in students or LABELS in students, cascade=cascade)
    check_metric(metric)
    inputs = (*([] if is_remote(teacher) else [teacher]), *asked.students, *data, *validation, *test)
    with run_folder(to, overwrite=overwrite, resume=resume, inputs=inputs, listener=listener) as folder:
        clock = StageClock(folder / RUN / SECONDS)
        listener = clock.heard(listener)
        clock.enter("reading")
        listener({"event": "stage", "title": "Reading the rows and the models"})
        models = asked.open(teacher, listener)
        given_source = Source(tuple(data), columns, template, roles, format, drop_bad_rows, tuple(where))
        source = models.as_read_before(given_source)
        lessons = gather_lessons(
            source, validation, test, folder, listener, seed=asked.spec.seed, known_labels=models.known_labels,
            validation_share=asked.spec.eval_percentage / 100,
        )  # fmt: skip
        longest = _longest(models.reader, lessons, longest_answer)
        lessons = usable(lessons, models.readers, asked.context(models), longest, listener, drop=drop_bad_rows)
        if LABELS in students:
            check_choosing(lessons, asked.objective, cascade=cascade)
        check_answers(metric, [row for row in lessons.test if has_answer(row)], lessons.labels)
        clock.enter("teacher")
        learnt = taught(models.teacher, models.reader.renderer, lessons, asked.objective, longest, relabel=relabel,
                        seed=asked.spec.seed, listener=listener, choosing=LABELS in students)  # fmt: skip
        check_answers(metric, learnt.references, learnt.lessons.labels)
        wanted = asked.objective.resolved(own_answers=learnt.provenance["of the data"] > 0)
        job = _Job(to, folder, target, asked.spec, dict(sources or {}), wanted, source, Bill(clock, hourly_price),
                   shots, listener, cascade)  # fmt: skip
        made = [name for name in (AUTO, LABELS) if name in students]
        result = job.run(models, learnt, made=made, trim=trim, longest=longest)
        write_json(folder / RESULT, result.as_dict())
    return result


class _Models(NamedTuple):
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
        return self.teacher.loaded.folder.card.get("labels") or () if self.teacher.loaded else ()

    def as_read_before(self, source: Source) -> Source:
        """The rows read as the reader's own were, where nothing else is said and they are no split's."""
        stored = self.reader.folder.card.get("source")
        is_folder = len(source.paths) == 1 and Path(source.paths[0]).is_dir()
        if source.mapping() or source.format or is_folder or not isinstance(stored, dict):
            return source
        return Source(source.paths, **stored, drop_bad_rows=source.drop_bad_rows)


@dataclass(frozen=True)
class _Asked:
    """What the user asks for, checked."""

    spec: TrainingSpec
    objective: DistillationSpec
    remote: RemoteSpec
    instruction: str
    students: list[str]
    hourly_price: float | None
    accept_teacher_terms: bool

    def check(self, teacher: str, *, cut_up: bool, cascade: bool) -> None:
        """Raises UsageError or ModelError for what can be seen to be wrong without reading any data."""
        if self.spec.method != "full":
            wrong = f"A student is a whole model, which method {self.spec.method} does not make."
            raise UsageError(wrong, "Use --method full.")
        if self.spec.label_smoothing:
            raise UsageError("A teacher's distribution is not smoothed.", "Leave --label-smoothing out.")
        if self.hourly_price is not None and not 0 < self.hourly_price < math.inf:
            wrong = f"A price of {self.hourly_price:g} USD for an hour of this machine tells nothing."
            raise UsageError(wrong, "Give --hourly-price above 0, or leave it out: costs are then told in seconds.")
        if not is_remote(teacher):
            refuse_cascade(find_model(teacher), "distillation")
            if self.instruction:
                raise UsageError("An instruction is for remote teachers.", "Put it into --template.")
        elif self.objective.on_policy_share:
            wrong = "A remote teacher does not say how likely a student's own answers are."
            raise UsageError(wrong, "Leave --objective on_policy_share out.")
        elif cascade:
            raise UsageError("A cascade needs its teacher's weights, and this one is remote.", "Leave --cascade out.")
        elif cut_up:
            raise UsageError("A remote teacher's weights are not here to be cut.", "Name a student: --student MODEL.")
        for name in self.students:
            refuse_cascade(_student_folder(name), "distillation")
        if is_remote(teacher):
            settle_terms(teacher, accepts=self.accept_teacher_terms)

    def open(self, teacher: str, listener: Listener) -> _Models:
        """Load the models. Raises UsageError where a remote teacher lacks a key."""
        named = [load_model(name) for name in self.students]
        if is_remote(teacher):
            chat = RemoteChat(teacher, self.remote)
            terms = settle_terms(teacher, accepts=self.accept_teacher_terms)
            master = RemoteTeacher(chat, open_cache(), listener, instruction=self.instruction, terms=terms)
            return _Models(master, named[0], named)
        local = LocalTeacher(load_model(teacher), open_cache(), listener)
        return _Models(local, local.loaded, named)

    def context(self, models: _Models) -> int:
        """The longest row that every model can be given."""
        return min(self.spec.max_length or 1 << 30, *(loaded.context for loaded in (models.reader, *models.named)))


@dataclass(frozen=True)
class _Job:
    """What stays the same from the search to the proof."""

    to: str
    folder: Path
    target: Target
    spec: TrainingSpec
    sources: dict[str, str]
    objective: DistillationSpec
    source: Source
    bill: Bill
    shots: int | None
    listener: Listener
    cascade: bool

    def run(self, models: _Models, learnt: Taught, *, made: Sequence[str], trim: bool, longest: int) -> DistillResult:
        """Search, train the best, save it, measure everything."""
        self.bill.clock.enter("search")
        found = self._search(models, learnt, made=made, trim=trim, longest=longest)
        objective = self.objective if found.student.new_ids is not None else None
        self.bill.clock.enter("training")
        self.listener({"event": "stage", "title": f"Training {found.student.name}"})
        trained = train_student(
            found.student, learnt.course, self.spec, self.sources, objective, self.folder / RUN, self.listener,
            behind=models.teacher.name,
        )  # fmt: skip
        self.bill.clock.enter("comparison")
        baseline = self._baseline(found.student, learnt)
        self.bill.clock.enter("proof")
        card = self._save(trained, found, learnt, models.teacher, objective)
        columns = Columns(models.teacher, found.student.make(), baseline, str(self._place), longest, self.shots,
                          self._behind(models.teacher, learnt, longest, card))  # fmt: skip
        evaluation, facts = prove(columns, learnt, found, trained, self.target, objective, self.spec.seed, self.folder,
                                  self.bill, self.listener)  # fmt: skip
        assert facts.cost is not None, "every distillation has its account"
        extend_card(self.folder, {"cost": facts.cost.as_dict()})
        parameters = sum(p.numel() for p in trained.loaded.model.parameters())
        return DistillResult(
            self.to, facts.verdict, facts.cost.sentence, facts.target_met, found.student.name, parameters,
            trained.outcome.minutes, learnt.notes, str(Path(self.to) / "report.html"), facts, evaluation,
        )  # fmt: skip

    def _search(self, models: _Models, learnt: Taught, *, made: Sequence[str], trim: bool, longest: int) -> Found:
        teacher, course = models.teacher, learnt.course
        sample = [lesson.answered for lesson in course.train[:PROBED_ROWS]]
        known = models.reader if learnt.has_word else None  # whose tokens the teacher's word is in
        students = [given(loaded.folder.name, known, sample) for loaded in models.named]
        for way in made:
            assert teacher.loaded is not None, "what is cut is here"
            self.listener({"event": "stage", "title": "Cutting students out of the teacher"})
            labels = (learnt.lessons.labels or ()) if way == LABELS else ()
            students += from_teacher(teacher.loaded, learnt.texts, trimmed=trim, labels=labels)
        if self.cascade:
            check_cascade(teacher, students)
        if self.objective.on_policy_share:
            check_same_tokens(students, "answers that it writes itself are explained in the teacher's tokens")
        # Short trainings compare students; what they write themselves would only make that slower.
        objective = self.objective.model_copy(update={"on_policy_share": 0.0})
        search = Search(self.target, course, self.spec, self.sources, objective, self.folder / RUN / SEARCH,
                        self.listener)  # fmt: skip
        prompts = [lesson.answered for lesson in course.validation]
        return search.find(students, teacher, prompts, learnt.typical_tokens, longest)

    def _baseline(self, student: Student, learnt: Taught) -> LoadedModel | None:
        """The same student on the rows' own answers alone: is the teacher worth anything?"""
        if learnt.gold is None:
            return None
        self.listener({"event": "stage", "title": f"Training {student.name} without the teacher, to compare"})
        folder = self.folder / RUN / BASELINE
        trained = train_student(
            student, learnt.gold, self.spec, self.sources, None, folder, quietly(self.listener, "Training to compare")
        )
        (folder / "model").mkdir(exist_ok=True)
        save_model(folder / "model", trained.loaded, trained.engine, trained.resolved)
        save_card(folder / "model", trained.loaded, {})
        return load_model(str(folder / "model"))

    def _save(
        self, trained: Trained, found: Found, learnt: Taught, teacher: Teacher, objective: DistillationSpec | None
    ) -> dict[str, Any]:
        """The model folder, its card, and the teacher's answers as a data set; returns the card."""
        (self._place / RUN).mkdir(parents=True, exist_ok=True)
        save_model(self._place, trained.loaded, trained.engine, trained.resolved)
        write_metrics(self.folder / RUN, read_journal(self.folder / RUN / "journal.jsonl"))
        after = trained.outcome.after
        assert after is not None, "a student always has validation rows"
        card = {
            "kind": "distilled", "source": self.source.as_dict(), **card_of(learnt.lessons),
            "data_provenance": stated_of(self.source.paths),
            "teacher": {"name": teacher.name, **provenance_of(teacher)},
            "student": {"name": found.student.name, "origin": found.student.origin},
            "objective": described(objective), "minutes": trained.outcome.minutes, "answers": learnt.provenance,
            "metrics": {"validation_loss": after.loss, "exact_match": after.exact_match},
        }  # fmt: skip
        save_description(self._place, trained.loaded, trained.resolved, card)
        write_atomic(self.folder / TEACHER_ROWS, "".join(line_of(lesson.answered) for lesson in learnt.course.train))
        return card

    @property
    def _place(self) -> Path:
        """Where the student lies: a cascade's own files are those of its teacher."""
        return self.folder / STUDENT if self.cascade else self.folder

    def _behind(self, teacher: Teacher, learnt: Taught, longest: int, card: dict[str, Any]) -> Behind | None:
        """The teacher behind the student, by rules that hold on the validation rows."""
        if not self.cascade:
            return None
        local = check_cascade(teacher, ())
        rows = TestRows(learnt.references, learnt.lessons.labels)
        metric = METRICS.load(decided_by(self.target.metric, rows)[0])
        made = Cascade(local, rows.labels, metric, self.target.within, longest, self.spec.seed, self.listener)
        records = [lesson.answered for lesson in learnt.course.validation]
        spec, found = made.set_rules(load_model(str(self._place)), records)
        save_cascade(self.folder, local.loaded, spec, card)
        return Behind(made, spec, found, str(self.folder))


def _student_folder(name: str) -> ModelFolder:
    """Raises ModelError, or UsageError for a word of --student that was mistyped."""
    try:
        return find_model(name)
    except ModelError:
        if meant := difflib.get_close_matches(name, (AUTO, LABELS), n=1):
            raise UsageError(f"There is no model folder {name}.", f"Did you mean: --student {meant[0]}?") from None
        raise


def _longest(reader: LoadedModel, lessons: Lessons, wanted: int | None) -> int:
    """Tokens that an answer may have."""
    if lessons.labels:
        return longest_label(reader, lessons.labels)
    rows = [*lessons.train, *lessons.validation, *lessons.test]
    own = [len(reader.renderer.answer(row, answer_text(row))) for row in rows if has_answer(row)]
    return max(own, default=min(LONGEST_ANSWER, reader.context // 2)) if wanted is None else max([wanted, *own])
