"""A cascade out of a student and its teacher: rules set on validation rows, and the share that the student answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from outcrop.core.completions import CompletionRequest, Sampling, ScoreRequest
from outcrop.core.errors import UsageError
from outcrop.core.events import Listener
from outcrop.core.statistics import wilson
from outcrop.data.records import Record, answer_text, prompt_text
from outcrop.evaluation.cascade import Threshold, calibrate, calibration_error, choose_threshold, row_scores
from outcrop.evaluation.distillation import CascadeFacts, CascadeWay
from outcrop.evaluation.metrics.metric import Example, FloatArray, Metric
from outcrop.generation.cascade import CascadeEngine, answer_probability, choice_probability
from outcrop.models.cascade import CascadeSpec, Rule, write_cascade
from outcrop.models.loading import LoadedModel
from outcrop.models.saving import copy_model, save_card
from outcrop.workflows.students import Student, check_same_tokens
from outcrop.workflows.teachers import LocalTeacher, Teacher

ALWAYS = Rule(threshold=0)
ANSWERS, CHOICES = "answers that are written", "choices among the labels"


class Spoken(NamedTuple):
    """A student's answers to rows in one way, and the probability that it gives each."""

    examples: list[Example]
    probabilities: FloatArray


@dataclass(frozen=True)
class Cascade:
    """How a student's cascade is made and measured. longest: tokens that an answer may have; within: points that may be
    lost by the metric."""

    teacher: LocalTeacher
    labels: tuple[str, ...] | None
    metric: Metric
    within: float
    longest: int
    seed: int
    listener: Listener

    def set_rules(self, student: LoadedModel, records: Sequence[Record]) -> tuple[CascadeSpec, dict[str, Threshold]]:
        """Calibrate the student's confidence on validation rows, and find the lowest thresholds that are safe there."""
        self.listener({"event": "stage", "title": "Setting how sure the student must be to answer"})
        rules: dict[str, Rule] = {}
        found: dict[str, Threshold] = {}
        for way, spoken in self._spoken(student, records).items():
            told = self.teacher.answers(records, self.labels if way == CHOICES else None, self.longest)
            answers = _examples(records, [text or "" for text in told], self.labels)
            right = row_scores(self.metric, spoken.examples)
            platt = calibrate(np.array([Rule.logit(p) for p in spoken.probabilities]), right)
            rule = Rule(slope=platt.slope, offset=platt.offset)
            sure = np.array([rule.confidence(p) for p in spoken.probabilities])
            found[way] = choose_threshold(
                self.metric, answers, spoken.examples, sure, self.within, seed=self.seed
            )  # fmt: skip
            rules[way] = rule.model_copy(update={"threshold": found[way].confidence})
            if found[way].found is None:
                self._tell_idle(way, len(records))
        self.teacher.close()
        spec = CascadeSpec(
            student=student.folder.digest(), labels=self.labels or (), answers=rules[ANSWERS],
            choices=rules.get(CHOICES),
        )  # fmt: skip
        return spec, found

    def facts(
        self, student: LoadedModel, spec: CascadeSpec, set_at: dict[str, Threshold], records: Sequence[Record]
    ) -> CascadeFacts:
        """What the student answers of test rows, by the rules that were set before, and how well it knows itself."""
        ways = []
        for way, spoken in self._spoken(student, records).items():
            rule = spec.choices if way == CHOICES and spec.choices else spec.answers
            sure = np.array([rule.confidence(p) for p in spoken.probabilities])
            answered = np.array([rule.trusts(p) for p in spoken.probabilities])
            before = set_at[way]
            bound = before.found.bound if before.found else None
            rows = before.found.n if before.found else 0
            error = calibration_error(sure, row_scores(self.metric, spoken.examples))
            share = wilson(int(answered.sum()), len(answered))
            ways.append(CascadeWay(way, rule.threshold, share, before.share, bound, rows, error))
        return CascadeFacts(tuple(ways))

    def _spoken(self, student: LoadedModel, records: Sequence[Record]) -> dict[str, Spoken]:
        """The student's answers in every way that a cascade can be asked in, on the path that its requests take."""
        everything = CascadeSpec(labels=self.labels or (), answers=ALWAYS, choices=ALWAYS if self.labels else None)
        engine = CascadeEngine(self.teacher.loaded, student, everything)
        found = {ANSWERS: self._written(engine, records)}
        if self.labels:
            found[CHOICES] = self._chosen(engine, records, self.labels)
        return found

    def _written(self, engine: CascadeEngine, records: Sequence[Record]) -> Spoken:
        renderer, context = self.teacher.loaded.renderer, self.teacher.loaded.context
        prompts = [tuple(renderer.prompt(record)) for record in records]
        done = engine.complete([
            CompletionRequest(ids, Sampling(
                max_new_tokens=max(1, min(self.longest, context - len(ids))), stop_ids=renderer.stop_ids
            ))
            for ids in prompts
        ])  # fmt: skip
        examples = _examples(records, [completion.text.strip() for completion in done], self.labels)
        sure = [answer_probability(each.logprobs, each.finish_reason == "stop") for each in done]
        return Spoken(examples, np.array(sure))

    def _chosen(self, engine: CascadeEngine, records: Sequence[Record], labels: Sequence[str]) -> Spoken:
        renderer = self.teacher.loaded.renderer
        scored = engine.score(
            [ScoreRequest(tuple(renderer.prompt(record)), renderer.answers(record, labels)) for record in records]
        )
        answers = [labels[int(np.argmax([score.logprob for score in scores]))] for scores in scored]
        return Spoken(_examples(records, answers, self.labels), np.array([choice_probability(s) for s in scored]))

    def _tell_idle(self, way: str, rows: int) -> None:
        message = (
            f"For {way} no threshold is safe: with {rows:,} validation rows a loss below {self.within:g} points is not "
            "shown even for the rows that the student is surest of. The teacher answers all."
        )
        self.listener({"event": "warning", "code": "idle-cascade", "message": message})


class Behind(NamedTuple):
    """A cascade that was made: how, by which rules, where they were set, and its folder."""

    made: Cascade
    spec: CascadeSpec
    set_at: dict[str, Threshold]
    folder: str


def check_cascade(teacher: Teacher, students: Sequence[Student]) -> LocalTeacher:
    """The teacher, if it and all students can stand in one cascade. Raises UsageError."""
    if not isinstance(teacher, LocalTeacher):
        raise UsageError("A cascade needs its teacher's weights, and this one is remote.", "Leave --cascade out.")
    check_same_tokens(students, "a cascade needs the same")
    return teacher


def save_cascade(folder: Path, teacher: LoadedModel, spec: CascadeSpec, card: dict[str, Any]) -> None:
    """Write the teacher's files, the rule and the card beside the student's folder."""
    copy_model(teacher, folder)
    write_cascade(folder, spec)
    save_card(folder, teacher, {**card, "kind": "cascade"})


def _examples(records: Sequence[Record], answers: Sequence[str], labels: tuple[str, ...] | None) -> list[Example]:
    return [
        Example(prompt_text(record), (answer_text(record).strip(),), answer, labels)
        for record, answer in zip(records, answers, strict=True)
    ]
