"""The proof of a distillation: every column on the test rows, speeds in turns, and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from outcrop.core.errors import UsageError
from outcrop.core.events import Listener
from outcrop.core.files import write_json
from outcrop.core.results import Estimate
from outcrop.core.spec import Resolved
from outcrop.core.statistics import ratio_of_medians, wilson
from outcrop.data.prompts import has_answer
from outcrop.data.records import Record, answer_text
from outcrop.evaluation.assessment import assess
from outcrop.evaluation.comparison import Answered
from outcrop.evaluation.cost import Cost, RunningCost, reckon
from outcrop.evaluation.distillation import Candidate, CascadeFacts, DistillationFacts, Proof, Speed, Target, Timed
from outcrop.evaluation.loss import measured_loss
from outcrop.evaluation.metrics.catalog import METRICS, default_metrics
from outcrop.evaluation.metrics.metric import Example
from outcrop.evaluation.report import ReportContent
from outcrop.evaluation.results import EvaluationResult
from outcrop.models.loading import LoadedModel, load_model
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.workflows.bulk import spread
from outcrop.workflows.cascading import Behind
from outcrop.workflows.distillation_columns import TEACHER, Columns, columns_of
from outcrop.workflows.distillation_request import LABEL_MASS
from outcrop.workflows.evaluate import now, reproduction, write_evaluation
from outcrop.workflows.fine_tune import curves
from outcrop.workflows.measure import TestRows, account, longest_answer, measure
from outcrop.workflows.speed import faster, race
from outcrop.workflows.stage_clock import StageClock
from outcrop.workflows.student_search import Found, on_front, quality_of
from outcrop.workflows.student_training import Trained
from outcrop.workflows.students import Student
from outcrop.workflows.teachers import RemoteTeacher
from outcrop.workflows.teaching import Taught
from outcrop.workflows.test_set import is_sealed, opened

RACED_PROMPTS, RACED_IN_CASCADE = 40, 200
NOTHING_LEARNT = 0.01
"""A distance to the teacher that fell by less than this share of itself is none that was learnt, unless it is small."""
NEAR = 0.02
"""Nats per token from which on a student is its teacher."""


class Bill(NamedTuple):
    """What the run took so far, and USD for an hour of this machine, where that is known."""

    clock: StageClock
    hourly_price: float | None


def prove(
    columns: Columns, learnt: Taught, found: Found, trained: Trained, target: Target,
    objective: DistillationSpec | None, seed: int, folder: Path, bill: Bill, listener: Listener,
) -> tuple[EvaluationResult, DistillationFacts]:  # fmt: skip
    """Measure every column once on the test rows, time teacher and student in turns, and write the report."""
    pool = [record for record in learnt.lessons.train if has_answer(record)]
    rows = TestRows(learnt.references, learnt.lessons.labels, pool)
    student = load_model(columns.folder)
    systems, from_afar, missing = columns_of(columns, student, found, trained, rows, seed)
    sealed = all(is_sealed(Path(path)) for path in learnt.lessons.test_paths)
    data = opened(learnt.lessons.test_paths, len(rows.records), "distill", columns.teacher.name, sealed=sealed)
    parameters = account(systems, rows)
    answered = [*from_afar, *(measure(system, rows, listener, seed=seed) for system in systems)]
    result = assess("Teacher and student", data, answered, metrics=decided_by(target.metric, rows),
                    candidate=columns.made, baseline=TEACHER, seed=seed)  # fmt: skip
    result = replace(result, notes=(*result.notes, *learnt.notes, *missing))
    listener({"event": "stage", "title": "Timing teacher and student in turns"})
    speeds = _raced(columns, rows, seed, listener)
    before, after = trained.distance
    facts = DistillationFacts(
        target=target, method=_method(objective, found.student, learnt.why), teacher=columns.teacher.name,
        student=found.student.name, candidates=tuple(_with_final_quality(found, trained, learnt)),
        proof=_proof(answered, result, target, columns.made, seed),
        latency=speeds.latency, throughput=speeds.throughput, speeds=speeds.medians, divergence=trained.distance,
        learnt=after < max(NEAR, before * (1 - NOTHING_LEARNT)), divergence_name=_distance_name(objective),
        teacher_calls=columns.teacher.asked, teacher_calls_cached=columns.teacher.cached,
        over_network=isinstance(columns.teacher, RemoteTeacher),
        cost=_cost(columns, result, rows, speeds.medians, bill), cascade=_share(columns.behind, student, rows),
        int8=columns.int8.facts, timed=speeds.timed,
    )  # fmt: skip
    if not facts.learnt:
        listener({"event": "warning", "code": "nothing-learnt", "message": facts.verdict})
    write_json(folder / "distillation.json", {**facts.as_dict(), "verdict": facts.verdict})
    told = [
        Resolved(name, value, "argument or default")
        for name, value in (objective.model_dump() if objective else {}).items()
    ]
    write_evaluation(folder, ReportContent(
        result, curves(folder, trained.outcome, learnt.course.metric), None,
        (*trained.resolved.parameters, *told, *parameters), reproduction(), now(), facts,
    ))  # fmt: skip
    return result, facts


def _share(behind: Behind | None, student: LoadedModel, rows: TestRows) -> CascadeFacts | None:
    """What of the test rows the student of a cascade answers."""
    return behind.made.facts(student, behind.spec, behind.set_at, rows.records) if behind else None


class _Speeds(NamedTuple):
    latency: Estimate
    throughput: Estimate
    medians: dict[str, Speed]
    timed: Timed


def _raced(columns: Columns, rows: TestRows, seed: int, listener: Listener) -> _Speeds:
    """Teacher and student in turns; of a remote teacher the times that its answers to these prompts took."""
    student, made = columns.load_made(), columns.made
    # What a cascade's teacher answers comes last: with few prompts its small batch would be most of the time.
    count = RACED_PROMPTS if columns.behind is None else RACED_IN_CASCADE
    tokens = max(columns.longest, longest_answer(student, rows))  # a label may be one token, but not its teacher's
    if isinstance(columns.teacher, RemoteTeacher):
        own = race({made: student}, rows.records, tokens, listener, alone=count)[made]
        records = spread(rows.records, count)
        theirs = columns.teacher.speed(records, columns.longest)
        ms = np.array([1000 * reply.seconds for reply in columns.teacher.replies(records, columns.longest)])
        ratio = own.speed.rows_per_s / theirs.rows_per_s
        throughput = Estimate(ratio, None, None, len(records), "no interval: the teacher's rate is its latency's")
        medians = {TEACHER: theirs, made: own.speed}
        return _Speeds(ratio_of_medians(ms, own.ms, seed=seed), throughput, medians, own.timed)
    models = {TEACHER: load_model(columns.teacher.name), made: student}
    timings = race(models, rows.records, tokens, listener, alone=count)
    found = faster(timings[TEACHER], timings[made], seed=seed)
    return _Speeds(*found, {name: timing.speed for name, timing in timings.items()}, timings[made].timed)


def _cost(columns: Columns, result: EvaluationResult, rows: TestRows, speeds: dict[str, Speed], bill: Bill) -> Cost:
    """Of many requests at once on this machine, as they were timed; of a remote teacher by its tokens."""
    tokens = {name: result.system(name).output_tokens_mean for name in (TEACHER, columns.made)}
    student = RunningCost(1000 / speeds[columns.made].rows_per_s, None, tokens[columns.made])
    if isinstance(columns.teacher, RemoteTeacher):
        usd, paid = columns.teacher.usd_of_1000(rows.records, columns.longest), columns.teacher.answers_usd
        teacher = RunningCost(None, usd, tokens[TEACHER])
        return reckon(teacher, student, bill.clock.seconds(), hourly_price=bill.hourly_price, answers_usd=paid)
    teacher = RunningCost(1000 / speeds[TEACHER].rows_per_s, None, tokens[TEACHER])
    return reckon(teacher, student, bill.clock.seconds(), hourly_price=bill.hourly_price)


def check_metric(name: str) -> None:
    """Raise UsageError for a metric of which no loss can be bounded: unknown, likelihoods, or without a range."""
    if not name:
        return
    metric = METRICS.load(name)
    if metric.direction != "higher" or not math.isfinite(metric.high - metric.low):
        allowed = [each for each in METRICS if METRICS.load(each).direction == "higher"]
        raise UsageError(f"A student's answers are not measured by {name}.", f"Allowed: {', '.join(allowed)}.")


def check_answers(metric: str, records: Sequence[Record], labels: tuple[str, ...] | None) -> None:
    """Raise UserError where the answers of these test rows cannot be measured by the metric."""
    if not records:
        return
    rows = TestRows(list(records), labels)
    examples = [Example("", (text := answer_text(record).strip(),), text, rows.labels) for record in rows.records]
    METRICS.load(decided_by(metric, rows)[0]).sums(examples)


def decided_by(metric: str, rows: TestRows) -> tuple[str, ...]:
    """The metric that was chosen, then those that fit the answers."""
    fitting = default_metrics([(answer_text(record).strip(),) for record in rows.records], rows.labels)
    return tuple(dict.fromkeys([metric or fitting[0], *fitting]))


def _proof(answered: Sequence[Answered], result: EvaluationResult, target: Target, made: str, seed: int) -> Proof:
    """The loss by the first metric, and its bound."""
    metric = METRICS.load(result.metrics[0].name)
    teacher, student = (next(system for system in answered if system.name == name) for name in (TEACHER, made))
    found = measured_loss(metric, teacher.examples, student.examples, target.within, seed=seed)
    equal = sum(a.answer == b.answer for a, b in zip(teacher.examples, student.examples, strict=True))
    return Proof(
        metric.name, found.loss, found.bound, found.shown, found.n, found.rows_needed, found.method,
        wilson(equal, found.n),
    )  # fmt: skip


def _with_final_quality(found: Found, trained: Trained, learnt: Taught) -> list[Candidate]:
    after, rows = trained.outcome.after, len(learnt.course.validation)
    assert after is not None, "a student always has validation rows"
    quality = quality_of(after.exact_match, after.loss, rows, learnt.course.metric)
    return on_front([
        replace(c, quality=quality, steps=trained.outcome.steps) if c.name == found.student.name else c
        for c in found.candidates
    ])  # fmt: skip


def _method(objective: DistillationSpec | None, student: Student, why: str) -> str:
    if objective is None:
        why = why or "student and teacher do not share a tokenizer"
        return f"by sequences: plain tuning on the teacher's answers, because {why}"
    assert objective.gold_share is not None, "the spec is resolved before training"
    share = f"{1 - objective.gold_share:.0%} {objective.divergence.replace('_', ' ')} to the teacher's distribution"
    kept = (
        f"{objective.kept_tokens} draws kept" if objective.signal == "sampled"
        else f"up to {objective.kept_tokens} tokens kept"
    )  # fmt: skip
    if student.label_ids is not None:
        share = f"{share} over all {len(student.label_ids):,} labels"
        kept = f"those with {LABEL_MASS:.0%} of the likelihood weighed exactly, the others estimated"
    found = f"by distributions: {share} ({kept}, temperature {objective.temperature:g}), the rest cross-entropy"
    if objective.states_weight:
        found += f"; beside them the direction of its last hidden states, weight {objective.states_weight:g}"
    if not objective.on_policy_share:
        return found
    return f"{found}; {objective.on_policy_share:.0%} of the answers are the student's own"


def _distance_name(objective: DistillationSpec | None) -> str:
    return "loss on the teacher's answers" if objective is None else objective.divergence.replace("_", " ")
