"""`tune`: labelled records in, a custom model and a report on a blind test out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from outcrop.core import settings as environment
from outcrop.core.errors import DataError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import write_json
from outcrop.core.invocation import repeatable
from outcrop.data.card import stated_of
from outcrop.data.labels import label_set, measured_labels
from outcrop.data.records import Conversation, Pair
from outcrop.evaluation.assessment import assess
from outcrop.evaluation.report import ReportContent
from outcrop.evaluation.results import EvaluationResult, TrainingCurves
from outcrop.models.fitting import fit, fit_prompts
from outcrop.models.folder import find_model
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.plain_weights import require_floats
from outcrop.models.rendering import Rendered
from outcrop.training.batches import from_rows
from outcrop.training.engine import TrainingEngine
from outcrop.training.journal import read_journal, write_metrics
from outcrop.training.loop import Outcome, Task, TrainingRun
from outcrop.training.spec import TrainingSpec
from outcrop.workflows.evaluate import now, reproduction, write_evaluation
from outcrop.workflows.measure import System, TestRows, account, ask, longest_answer, measure
from outcrop.workflows.parts import Parts, counted, gather_parts, without_special_tokens
from outcrop.workflows.records import Source
from outcrop.workflows.resolving import ResolvedSpec, parse_settings, resolve
from outcrop.workflows.run_folder import RESULT, RUN, run_folder
from outcrop.workflows.saving import save_description, save_model
from outcrop.workflows.test_set import is_sealed, opened

SHORT_ANSWER_TOKENS = 32
"""Answers up to this length, by the median, are watched by exact match besides the loss."""


@dataclass(frozen=True)
class TuneResult:
    """A tuned model. model: its folder; validation before and after training; evaluation on the test rows, if any."""

    model: str
    method: str
    steps: int
    best_step: int
    stop_reason: str
    message: str
    minutes: float
    estimated_minutes: float
    peak_memory_gb: float
    rows: dict[str, int]
    validation_loss: tuple[float, float]
    metric: str | None
    metric_value: tuple[float, float] | None
    report: str | None
    evaluation: EvaluationResult | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"evaluation": self.evaluation.as_dict() if self.evaluation else None}


class FittedParts(NamedTuple):
    """The rows that are used, what those to train and to watch render to, and their labels if they are a closed set."""

    parts: Parts
    train: list[Rendered]
    validation: list[Rendered]
    labels: tuple[str, ...] | None


@repeatable
def tune(
    base: str,
    data: Sequence[str],
    to: str,
    *,
    validation: Sequence[str] = (),
    test: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    sources: Mapping[str, str] | None = None,
    columns: str = "",
    template: str = "",
    roles: str = "",
    format: str = "",
    drop_bad_rows: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    shots: int = 4,
    listener: Listener = ignore,
) -> TuneResult:
    """Fine-tune `base` on labelled rows and save a model folder at `to`.

    data: files, or one folder written by `outcrop data split`, whose validation and sealed test are then used.
    test: rows to measure the base model (zero-shot and with `shots` worked examples) and the tuned one on, once.
    Raises UserErrors for what the user can mend, before training; nothing is left at `to` unless all went well.
    """
    torch.set_num_threads(environment.threads())
    spec = parse_settings(settings or {})
    source = Source(tuple(data), columns, template, roles, format, drop_bad_rows)
    require_floats(find_model(base), "tuning")
    inputs = (base, *data, *validation, *test)
    with run_folder(to, overwrite=overwrite, resume=resume, inputs=inputs, listener=listener) as folder:
        listener({"event": "stage", "title": "Reading and checking the data"})
        parts = gather_parts(source, validation, test, spec, listener)
        loaded = load_model(base)
        parts = without_special_tokens(parts, loaded.renderer, listener, drop=drop_bad_rows)
        parts, train, held, labels = _fitted(loaded, parts, spec, listener)
        resolved = resolve(spec, sources or {}, loaded, len(train), listener, folder / RUN)
        task = Task(
            from_rows(train), from_rows(held), _metric(held), parts.digests | {"base model": loaded.folder.digest()}
        )
        outcome = _train(loaded, resolved, task, folder, listener)
        save_description(folder, loaded, resolved, _card(parts, source, labels, outcome))
        evaluation = None
        if parts.test:
            evaluation = _measured(base, folder, parts, labels, shots, outcome, resolved, task.metric, listener)
        result = _result(to, resolved, outcome, parts, task.metric, evaluation)
        write_json(folder / RESULT, {**result.as_dict(), "evaluation": None})
    return result


def _card(parts: Parts, source: Source, labels: tuple[str, ...] | None, outcome: Outcome) -> dict[str, Any]:
    """What outcrop.json says of the rows, how a prompt is put to the model, and how well it did on validation rows."""
    assert outcome.after is not None, "tuning always has validation rows"
    return {
        "kind": "fine-tuned", "source": source.as_dict(), "prompt": parts.prompt,
        "conversations": any(isinstance(record, Conversation) for record in parts.train),
        "labels": list(labels) if labels else None, "data": parts.digests, "rows": dict(parts.preparation.counts),
        "data_provenance": stated_of(source.paths), "minutes": outcome.minutes,
        "metrics": {"validation_loss": outcome.after.loss, "exact_match": outcome.after.exact_match},
    }  # fmt: skip


def _fitted(loaded: LoadedModel, parts: Parts, spec: TrainingSpec, listener: Listener) -> FittedParts:
    """The rows that fit the context; of test rows, those whose prompts leave room for an answer."""
    context = min(spec.max_length or loaded.context, loaded.context)
    train, held = (fit(loaded.renderer, rows, context, spec.over_long) for rows in (parts.train, parts.validation))
    labels = label_set([*parts.train, *parts.validation])
    asked = measured_labels(parts.test, labels or ())
    if asked.account:
        listener({"event": "warning", "code": "unseen-labels", "message": asked.account})
    longest = longest_answer(loaded, TestRows(parts.test, asked.labels)) if asked.labels else None
    test = fit_prompts(loaded.renderer, parts.test, loaded.context, longest, spec.over_long)
    for name, fitted in (("training", train), ("validation", held), ("test", test)):
        if not fitted.records and (fitted is not test or parts.test):
            raise DataError(f"No {name} rows are left that fit {context:,} tokens.", "Give shorter rows.")
        if fitted.account:
            message = f"{name.capitalize()} rows longer than {context:,} tokens: {fitted.account}."
            listener({"event": "warning", "code": "over-long", "message": message})
    too_long = f"Of the test rows, {test.account}: they are too long." if test.account else ""
    notes = (*parts.notes, *filter(None, (too_long, asked.account)))
    kept = replace(parts, train=train.records, validation=held.records, test=test.records, notes=notes)
    return FittedParts(counted(kept), train.rows, held.rows, labels)


def _metric(rows: Sequence[Rendered]) -> str | None:
    """Exact match where answers are short enough for it to mean something."""
    lengths = sorted(row.trained_tokens for row in rows)
    return "exact_match" if lengths and lengths[len(lengths) // 2] <= SHORT_ANSWER_TOKENS else None


def _train(loaded: LoadedModel, resolved: ResolvedSpec, task: Task, folder: Path, listener: Listener) -> Outcome:
    listener({"event": "stage", "title": "Training"})
    engine = TrainingEngine(loaded.model, resolved.spec, resolved.precision.dtype)
    outcome = TrainingRun(engine, task, resolved.spec, folder / RUN, listener).run()
    save_model(folder, loaded, engine, resolved)
    write_metrics(folder / RUN, read_journal(folder / RUN / "journal.jsonl"))
    return outcome


def _measured(
    base: str,
    folder: Path,
    parts: Parts,
    labels: tuple[str, ...] | None,
    shots: int,
    outcome: Outcome,
    resolved: ResolvedSpec,
    metric: str | None,
    listener: Listener,
) -> EvaluationResult:
    """Measure the base model and the tuned one, which is loaded from the folder that will be served."""
    rows = TestRows(parts.test, measured_labels(parts.test, labels or ()).labels, parts.train)
    before, after = load_model(base), load_model(str(folder))
    systems = [*_baselines(base, before, rows, shots, resolved.spec.seed)]
    method = "low-rank adapters" if resolved.spec.method == "lora" else "all weights"
    asked = ask(after, rows, 0, resolved.spec.seed)
    systems.append(System.of("tuned", f"{method}, {outcome.steps} steps", after, asked, outcome.minutes))
    sealed = all(is_sealed(Path(path)) for path in parts.test_paths)
    facts = opened(parts.test_paths, len(parts.test), "tune", base, sealed=sealed)
    parameters = account(systems, rows)
    listener({"event": "resolved", "parameters": [vars(entry) for entry in parameters]})
    answered = [measure(system, rows, listener, seed=resolved.spec.seed) for system in systems]
    result = assess("Before and after tuning", facts, answered, candidate="tuned", seed=resolved.spec.seed)
    result = replace(
        result,
        notes=(*result.notes, *parts.notes, *(leak.sentence for leak in parts.leaks if leak.part != "test")),
        limits=tuple(leak.sentence for leak in parts.leaks if leak.part == "test"),
    )
    write_evaluation(
        folder,
        ReportContent(
            result,
            curves(folder, outcome, metric),
            parts.preparation,
            (*resolved.parameters, *parameters),
            reproduction(),
            now(),
        ),
    )
    return result


def _baselines(base: str, loaded: LoadedModel, rows: TestRows, shots: int, seed: int) -> Iterator[System]:
    """The base model as it is, and with worked examples where there are enough of them and room for any."""
    name = base if ":" in base else Path(base).name
    yield System.of("base, zero-shot", f"{name} as it is", loaded, ask(loaded, rows, 0, seed))
    pairs = all(isinstance(record, Pair) for record in [*rows.records, *rows.shot_pool])
    if not shots or not pairs or len(rows.shot_pool) < shots:
        return
    asked = ask(loaded, rows, shots, seed)
    if any(asked.shots):
        described = f"{name} with {shots} worked examples in the prompt"
        yield System.of(f"base, {shots}-shot", described, loaded, asked)


def curves(folder: Path, outcome: Outcome, metric: str | None) -> TrainingCurves:
    """The journal as curves for the report."""
    events = read_journal(folder / RUN / "journal.jsonl")
    return TrainingCurves(
        tuple((e["step"], e["loss"]) for e in events if e["event"] == "step"),
        tuple((e["step"], e["validation_loss"], e["metric_value"]) for e in events if e["event"] == "evaluation"),
        outcome.best_step,
        ended(outcome),
        (metric or "").replace("_", " "),
    )


def ended(outcome: Outcome) -> str:
    """Why training ended, as a sentence."""
    sentences = {
        "finished": f"All {outcome.steps:,} steps were done.",
        "early stopping": f"Training stopped early, at step {outcome.steps:,}.",
        "time limit": f"The time limit ended training at step {outcome.steps:,}.",
        "diverged": f"Training diverged at step {outcome.steps:,}.",
    }
    return f"{sentences[outcome.reason]} {outcome.message}".strip()


def _result(
    to: str,
    resolved: ResolvedSpec,
    outcome: Outcome,
    parts: Parts,
    metric: str | None,
    evaluation: EvaluationResult | None,
) -> TuneResult:
    assert outcome.before is not None, "tuning always has validation rows"
    assert outcome.after is not None, "tuning always has validation rows"
    return TuneResult(
        model=to,
        method=resolved.spec.method,
        steps=outcome.steps,
        best_step=outcome.best_step,
        stop_reason=outcome.reason,
        message=outcome.message,
        minutes=outcome.minutes,
        estimated_minutes=outcome.estimated_minutes,
        peak_memory_gb=outcome.peak_memory_gb,
        rows=dict(parts.preparation.counts),
        validation_loss=(outcome.before.loss, outcome.after.loss),
        metric=metric,
        metric_value=(outcome.before.exact_match, outcome.after.exact_match) if metric else None,
        report=str(Path(to) / "report.html") if evaluation else None,
        evaluation=evaluation,
    )
