"""`distill`: a teacher and prompts in, the smallest student that keeps its quality out, with the proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from outcrop.core import settings as environment
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
from outcrop.generation.int8_linear import adds_in_32_bits
from outcrop.generation.remote import RemoteSpec, is_remote
from outcrop.models.folder import STUDENT, extend_card
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.saving import save_card
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.journal import read_journal, write_metrics
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.cascading import Behind, Cascade, check_cascade, save_cascade
from outcrop.workflows.distillation_columns import Columns
from outcrop.workflows.distillation_report import Bill, check_answers, check_metric, decided_by, prove
from outcrop.workflows.distillation_request import (
    AUTO,
    LABEL_MASS,
    LABELS,
    PHRASES,
    WAYS,
    Asked,
    Models,
    check_teacher,
)
from outcrop.workflows.lessons import Lessons, card_of, check_choosing, gather_lessons, usable
from outcrop.workflows.measure import TestRows
from outcrop.workflows.quantising import NEVER, Int8, Tried
from outcrop.workflows.records import Source
from outcrop.workflows.resolving import parse_settings
from outcrop.workflows.run_folder import BASELINE, RESULT, RUN, SEARCH, SECONDS, run_folder
from outcrop.workflows.saving import save_description, save_model
from outcrop.workflows.stage_clock import StageClock
from outcrop.workflows.student_search import Found, Search
from outcrop.workflows.student_training import Trained, described, quietly, train_student
from outcrop.workflows.students import Student, check_same_tokens, from_teacher, given, hears_states
from outcrop.workflows.teachers import Teacher, longest_label, provenance_of
from outcrop.workflows.teaching import Taught, taught

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
    int8: str = "auto",
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
    students: model names, "auto" for the teacher cut in many ways, "labels" for the same with a token for each label,
    "phrases" with tokens for phrases of the prompts and answers.
    within: points of the metric that may be lost;
    metric: one of the catalog, none for the one that fits the answers. cascade: the student answers what it is sure of,
    the teacher the rest, as one model. int8: whether the student's weights become int8: auto where that pays, always
    or never.
    instruction: a system message for a remote teacher; longest_answer: tokens that it may answer with, where its
    answers are no closed set; where: filters of invocation logs.
    accept_teacher_terms: the terms of a remote teacher allow to train on its answers; remembered, so said once.
    objective, remote: fields of DistillationSpec and RemoteSpec. hourly_price: USD for an hour of this machine; without
    it costs are told in its seconds. shots: worked examples for a teacher that is only prompted, in a column of its
    own; by default 4 of a local teacher, and none of a remote one, which is paid for them.
    Raises UserErrors for what the user can mend, before training; nothing is left at `to` unless all went well.
    """
    torch.set_num_threads(environment.threads())
    asked = Asked(
        parse_settings(settings or {}), DistillationSpec.parse(objective or {}), RemoteSpec.parse(remote or {}),
        instruction, [name for name in students if name not in WAYS], hourly_price,
        accept_teacher_terms, int8,
    )  # fmt: skip
    target = Target(within, faster, metric).checked()
    asked.check(teacher, students, cascade=cascade)
    check_metric(metric)
    inputs = (*([] if is_remote(teacher) else [teacher]), *asked.students, *data, *validation, *test)
    with run_folder(to, overwrite=overwrite, resume=resume, inputs=inputs, listener=listener) as folder:
        clock = StageClock(folder / RUN / SECONDS)
        listener = clock.heard(listener)
        clock.enter("reading")
        listener({"event": "stage", "title": "Reading the rows and the models"})
        models = asked.open(teacher, listener, weighed=LABEL_MASS if LABELS in students else 0.0)
        check_teacher(models.teacher, students, cascade=cascade)
        given_source = Source(tuple(data), columns, template, roles, format, drop_bad_rows, tuple(where))
        source = models.as_read_before(given_source)
        lessons = gather_lessons(
            source, validation, test, folder, listener, seed=asked.spec.seed, known_labels=models.known_labels,
            validation_share=asked.spec.eval_percentage / 100,
        )  # fmt: skip
        longest = _longest(models.reader, lessons, longest_answer)
        lessons = usable(lessons, models.readers, asked.context(models), longest, listener, drop=drop_bad_rows)
        if LABELS in students:
            check_choosing(lessons)
        check_answers(metric, [row for row in lessons.test if has_answer(row)], lessons.labels)
        clock.enter("teacher")
        learnt = taught(models.teacher, models.reader.renderer, lessons, asked.objective, longest, relabel=relabel,
                        seed=asked.spec.seed, listener=listener, choosing=LABELS in students,
                        explaining=set(students) != {LABELS}, states=PHRASES in students)  # fmt: skip
        check_answers(metric, learnt.references, learnt.lessons.labels)
        wanted = asked.objective.resolved(own_answers=learnt.provenance["of the data"] > 0)
        job = _Job(to, folder, target, asked.spec, dict(sources or {}), wanted, source, Bill(clock, hourly_price),
                   shots, listener, cascade, int8)  # fmt: skip
        made = [name for name in WAYS if name in students]
        result = job.run(models, learnt, made=made, trim=trim, longest=longest)
        write_json(folder / RESULT, result.as_dict())
    return result


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
    int8: str

    def run(self, models: Models, learnt: Taught, *, made: Sequence[str], trim: bool, longest: int) -> DistillResult:
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
        if objective and not hears_states(found.student, trained.loaded, learnt.course.train[0]):
            objective = objective.model_copy(update={"states_weight": 0.0})  # as it was
        self.bill.clock.enter("comparison")
        baseline = self._baseline(found.student, learnt)
        self.bill.clock.enter("int8")
        card = self._save(trained, found, learnt, models.teacher, objective)
        int8 = self._quantised(models.teacher, learnt, longest)
        self.bill.clock.enter("proof")
        columns = Columns(models.teacher, found.student.make(), baseline, str(self._place), longest, self.shots,
                          self._behind(models.teacher, learnt, longest, card), int8)  # fmt: skip
        evaluation, facts = prove(columns, learnt, found, trained, self.target, objective, self.spec.seed, self.folder,
                                  self.bill, self.listener)  # fmt: skip
        assert facts.cost is not None, "every distillation has its account"
        extend_card(self.folder, {"cost": facts.cost.as_dict()})
        parameters = sum(p.numel() for p in trained.loaded.model.parameters())
        return DistillResult(
            self.to, facts.verdict, facts.cost.sentence, facts.target_met, found.student.name, parameters,
            trained.outcome.minutes, learnt.notes, str(Path(self.to) / "report.html"), facts, evaluation,
        )  # fmt: skip

    def _search(self, models: Models, learnt: Taught, *, made: Sequence[str], trim: bool, longest: int) -> Found:
        teacher, course = models.teacher, learnt.course
        sample = [lesson.answered for lesson in course.train[:PROBED_ROWS]]
        known = models.reader if learnt.has_word else None  # whose tokens the teacher's word is in
        students = [given(loaded.folder.name, known, sample) for loaded in models.named]
        for way in made:
            assert teacher.loaded is not None, "what is cut is here"
            self.listener({"event": "stage", "title": "Cutting students out of the teacher"})
            labels = (learnt.lessons.labels or ()) if way == LABELS else ()
            answered = [lesson.answered for lesson in course.train] if way == PHRASES else ()
            students += from_teacher(teacher.loaded, learnt.texts, trimmed=trim, labels=labels, answered=answered)
        if self.cascade:
            check_cascade(teacher, students)
        if self.objective.on_policy_share:
            check_same_tokens(students, "answers that it writes itself are explained in the teacher's tokens")
        # Short trainings compare students; what they write themselves would only make that slower.
        objective = self.objective.model_copy(update={"on_policy_share": 0.0})
        search = Search(self.target, course, self.spec, self.sources, objective, self.folder / RUN / SEARCH,
                        self.listener, int8=self.int8 != NEVER and adds_in_32_bits())  # fmt: skip
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

    def _quantised(self, teacher: Teacher, learnt: Taught, longest: int) -> Tried:
        """The student with weights in int8, where that is wanted."""
        rows = TestRows(learnt.references, learnt.lessons.labels)
        stage = Int8(self.int8, self.target, decided_by(self.target.metric, rows)[0], rows.labels, longest,
                     self.spec.seed, self.folder / RUN / SEARCH, self.listener)  # fmt: skip
        return stage.apply(self._place, teacher, [lesson.answered for lesson in learnt.course.validation])

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


def _longest(reader: LoadedModel, lessons: Lessons, wanted: int | None) -> int:
    """Tokens that an answer may have."""
    if lessons.labels:
        return longest_label(reader, lessons.labels)
    rows = [*lessons.train, *lessons.validation, *lessons.test]
    own = [len(reader.renderer.answer(row, answer_text(row))) for row in rows if has_answer(row)]
    return max(own, default=min(LONGEST_ANSWER, reader.context // 2)) if wanted is None else max([wanted, *own])
