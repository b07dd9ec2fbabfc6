"""`distill`: a teacher and prompts in, the smallest student that keeps its quality out, with the proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from outcrop.core import settings as environment
from outcrop.core.errors import UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import write_json
from outcrop.core.invocation import repeatable
from outcrop.data.certificate import lines
from outcrop.data.prompts import has_answer
from outcrop.data.records import answer_text
from outcrop.evaluation.distillation import DistillationFacts, Target
from outcrop.evaluation.results import EvaluationResult
from outcrop.models.folder import find_model
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.saving import save_card
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.journal import read_journal, write_metrics
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.distillation_report import Columns, prove
from outcrop.workflows.lessons import Lessons, card_of, gather_lessons, usable
from outcrop.workflows.records import Source
from outcrop.workflows.resolving import parse_settings
from outcrop.workflows.run_folder import BASELINE, RESULT, RUN, SEARCH, run_folder
from outcrop.workflows.saving import base_of, save_description, save_model
from outcrop.workflows.student_search import Found, Search
from outcrop.workflows.student_training import Trained, described, quietly, train_student
from outcrop.workflows.students import Student, from_teacher, given
from outcrop.workflows.teachers import LocalTeacher, longest_label, open_cache
from outcrop.workflows.teaching import Taught, taught

AUTO = "auto"
TEACHER_ROWS = "teacher.jsonl"
"""The teacher's answers as a data set, in the target."""
LONGEST_ANSWER = 256
"""Tokens of an open answer of the teacher, where the rows have none to go by."""


@dataclass(frozen=True)
class DistillResult:
    """A student and its proof. model: its folder; facts: candidates, speeds, loss with its bound; evaluation: every
    system on the test rows."""

    model: str
    verdict: str
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
    validation: Sequence[str] = (),
    test: Sequence[str] = (),
    relabel: bool = False,
    trim: bool = True,
    objective: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    sources: Mapping[str, str] | None = None,
    columns: str = "",
    template: str = "",
    roles: str = "",
    format: str = "",
    drop_bad_rows: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    listener: Listener = ignore,
) -> DistillResult:
    """Find, train and measure the best student that is `faster` times as fast as the teacher, and save it at `to`.

    data: prompts, with or without answers; relabel: the teacher answers rows that have an answer, too, and their own is
    kept for the student of the answers alone that every other is compared with. students: model names, or "auto" for
    the teacher cut in many ways. within: points of the metric that may be lost. objective: fields of DistillationSpec.
    Raises UserErrors for what the user can mend, before training; nothing is left at `to` unless all went well.
    """
    torch.set_num_threads(environment.threads())
    spec, wanted = parse_settings(settings or {}), DistillationSpec.parse(objective or {})
    if spec.method != "full":
        raise UsageError(f"A student is a whole model, which method {spec.method} does not make.", "Use --method full.")
    if spec.label_smoothing:
        raise UsageError("A teacher's distribution is not smoothed.", "Leave --label-smoothing out.")
    named = [name for name in students if name != AUTO]
    for name in (teacher, *named):
        find_model(name)
    inputs = (teacher, *named, *data, *validation, *test)
    with run_folder(to, overwrite=overwrite, resume=resume, inputs=inputs, listener=listener) as folder:
        listener({"event": "stage", "title": "Reading the rows and the teacher"})
        master = LocalTeacher(load_model(teacher), open_cache(), listener)
        source = _as_the_teacher_reads(
            Source(tuple(data), columns, template, roles, format, drop_bad_rows), master.loaded
        )
        known = master.loaded.folder.card.get("labels") or ()
        lessons = gather_lessons(
            source, validation, test, folder, listener, seed=spec.seed, known_labels=known,
            validation_share=spec.eval_percentage / 100,
        )  # fmt: skip
        others = [load_model(name) for name in named]
        context = min(spec.max_length or 1 << 30, *(loaded.context for loaded in (master.loaded, *others)))
        longest = _longest(master.loaded, lessons)
        renderers = [loaded.renderer for loaded in (master.loaded, *others)]
        lessons = usable(lessons, renderers, context, longest, listener, drop=drop_bad_rows)
        learnt = taught(master, lessons, wanted, longest, relabel=relabel, seed=spec.seed, listener=listener)
        wanted = wanted.resolved(own_answers=learnt.provenance["of the data"] > 0)
        job = _Job(to, folder, Target(within, faster), spec, dict(sources or {}), wanted, source, listener)
        result = job.run(master, learnt, [given(name, master.loaded, lessons.train[:50]) for name in named],
                         cut_up=AUTO in students, trim=trim, longest=longest)  # fmt: skip
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
    listener: Listener

    def run(
        self, master: LocalTeacher, learnt: Taught, students: list[Student], *, cut_up: bool, trim: bool, longest: int
    ) -> DistillResult:
        """Search, train the best, save it, measure everything."""
        course = learnt.course
        if cut_up:
            self.listener({"event": "stage", "title": "Cutting students out of the teacher"})
            seen = [lesson.answered for lesson in (*course.train, *course.validation)]
            students = students + from_teacher(master.loaded, [*seen, *learnt.label_rows], trimmed=trim)
        search = Search(self.target, course, self.spec, self.sources, self.objective, self.folder / RUN / SEARCH,
                        self.listener)  # fmt: skip
        found = search.find(students, master.loaded, [lesson.answered for lesson in course.validation],
                            learnt.typical_tokens)  # fmt: skip
        objective = self.objective if found.student.new_ids is not None else None
        self.listener({"event": "stage", "title": f"Training {found.student.name}"})
        trained = train_student(
            found.student, course, self.spec, self.sources, objective, self.folder / RUN, self.listener
        )
        baseline = self._baseline(found.student, learnt)
        self._save(trained, found, learnt, master, objective)
        columns = Columns(master, found.student.make(), baseline, str(self.folder))
        evaluation, facts = prove(columns, learnt, found, trained, self.target, objective, self.spec.seed, self.folder,
                                  self.listener)  # fmt: skip
        parameters = sum(p.numel() for p in trained.loaded.model.parameters())
        met = facts.learnt and facts.proof.shown and facts.fast_enough
        return DistillResult(
            self.to, facts.verdict, met, found.student.name, parameters, trained.outcome.minutes, learnt.notes,
            str(Path(self.to) / "report.html"), facts, evaluation,
        )  # fmt: skip

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
        self, trained: Trained, found: Found, learnt: Taught, master: LocalTeacher, objective: DistillationSpec | None
    ) -> None:
        """The model folder, its card, and the teacher's answers as a data set."""
        save_model(self.folder, trained.loaded, trained.engine, trained.resolved)
        write_metrics(self.folder / RUN, read_journal(self.folder / RUN / "journal.jsonl"))
        after = trained.outcome.after
        assert after is not None, "a student always has validation rows"
        card = {
            "kind": "distilled", "source": self.source.as_dict(), **card_of(learnt.lessons),
            "teacher": base_of(master.loaded.folder), "student": {"name": found.student.name,
            "origin": found.student.origin}, "objective": described(objective), "minutes": trained.outcome.minutes,
            "metrics": {"validation_loss": after.loss, "exact_match": after.exact_match},
            "answers": learnt.provenance,
        }  # fmt: skip
        save_description(self.folder, trained.loaded, trained.resolved, card)
        answered = [lesson.answered for lesson in learnt.course.train]
        (self.folder / TEACHER_ROWS).write_text("".join(lines(answered)), encoding="utf-8")


def _as_the_teacher_reads(source: Source, teacher: LoadedModel) -> Source:
    """The rows read as the teacher's own were, where nothing else is said and they are no split's."""
    stored = teacher.folder.card.get("source")
    is_folder = len(source.paths) == 1 and Path(source.paths[0]).is_dir()
    if source.mapping() or source.format or is_folder or not isinstance(stored, dict):
        return source
    return Source(source.paths, **stored, drop_bad_rows=source.drop_bad_rows)


def _longest(teacher: LoadedModel, lessons: Lessons) -> int:
    """Tokens that an answer may have."""
    if lessons.labels:
        return longest_label(teacher, lessons.labels)
    rows = [*lessons.train, *lessons.validation, *lessons.test]
    own = [len(teacher.renderer.answer(row, answer_text(row))) for row in rows if has_answer(row)]
    return max(own, default=LONGEST_ANSWER)
