"""`evaluate`: models on the same test rows, with intervals, paired comparisons and a report."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from outcrop.core import settings as environment
from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import check_target, staged_folder, write_json
from outcrop.core.invocation import repeatable, running
from outcrop.core.spec import Resolved
from outcrop.data.labels import measured_labels
from outcrop.data.records import Record
from outcrop.evaluation.assessment import assess
from outcrop.evaluation.metrics.catalog import METRICS
from outcrop.evaluation.report import ReportContent, write_report
from outcrop.evaluation.results import EvaluationResult, Reproduction
from outcrop.models.fitting import fit_prompts
from outcrop.models.loading import LoadedModel, load_model
from outcrop.workflows.measure import System, TestRows, account, ask, longest_answer, measure
from outcrop.workflows.records import Source, digest_of, renderable
from outcrop.workflows.test_set import gather_test_set, opened

PACKAGES = ("outcrop", "torch", "transformers", "tokenizers", "numpy")


@repeatable
def evaluate(
    models: Sequence[str],
    data: Sequence[str],
    to: str,
    *,
    columns: str = "",
    template: str = "",
    roles: str = "",
    format: str = "",
    metrics: Sequence[str] = (),
    shots: Sequence[int] = (0,),
    shots_from: Sequence[str] = (),
    seed: int = 0,
    limit: int | None = None,
    drop_bad_rows: bool = False,
    overwrite: bool = False,
    listener: Listener = ignore,
) -> EvaluationResult:
    """Measure every model with every number of shots on the same rows; writes evaluation.json and report.html to `to`.

    data: files, or a folder written by `outcrop data split`, which stands for its sealed test.
    columns, template, format: how rows are read; by default as the (last) model was trained.
    shots_from: the rows that worked examples are drawn from; by default the training rows of a split folder.
    limit: only the first rows. The look at the test set is recorded once nothing is left that could be refused.
    """
    check_target(Path(to), overwrite=overwrite, inputs=(*models, *data, *shots_from))
    if len(set(models)) < len(models):
        raise UsageError(f"A model is named twice: {', '.join(models)}.", "Name each once; --shots may be repeated.")
    for metric in metrics:
        METRICS.load(metric)
    torch.set_num_threads(environment.threads())
    loaded = {name: load_model(name) for name in models}
    source = Source(tuple(data), columns, template, roles, format, drop_bad_rows)
    test = gather_test_set(source, shots_from, limit, listener, stored=_stored(source, loaded.values()))
    kept = renderable(
        [model.renderer for model in loaded.values()], {"test": test.records, "example": test.pool}, listener,
        drop=drop_bad_rows,
    )  # fmt: skip
    rows, too_long = _fitting(loaded, kept.parts, listener, drop=drop_bad_rows)
    systems = _systems(loaded, rows, shots, seed)
    limits = [sentence for name in models for sentence in _seen_rows(name, loaded[name], test.paths)]
    for sentence in limits:
        listener({"event": "warning", "code": "seen-rows", "message": sentence})
    facts = opened(test.paths, len(rows.records), "evaluate", ", ".join(models), sealed=test.sealed)
    parameters = (*account(systems, rows), Resolved("seed", seed, "of worked examples, timed rows and intervals"))
    listener({"event": "resolved", "parameters": [vars(entry) for entry in parameters]})
    answered = [measure(system, rows, listener, seed=seed) for system in systems]
    result = assess("Evaluation", facts, answered, metrics=metrics, seed=seed)
    notes = [*([f"{kept.account} They are left out."] if kept.left_out else []), *too_long]
    result = replace(result, notes=(*result.notes, *notes), limits=tuple(limits))
    with staged_folder(Path(to)) as folder:
        write_evaluation(
            folder, ReportContent(result, parameters=parameters, reproduction=reproduction(), created=now())
        )
    return result


def _stored(source: Source, loaded: Iterable[LoadedModel]) -> Source:
    """The same files, read as the rows of the last model that says how its own were read."""
    stored: dict[str, Any] = next(
        (model.folder.card["source"] for model in reversed(list(loaded)) if "source" in model.folder.card), {}
    )
    return replace(source, **stored)


def _fitting(
    loaded: Mapping[str, LoadedModel], parts: Mapping[str, list[Record]], listener: Listener, *, drop: bool
) -> tuple[TestRows, list[str]]:
    """The rows whose prompts leave room for an answer in the context of every model; sentences on the others, and on
    labels that no model was trained with.

    Raises DataError naming those, unless they are to be dropped.
    """
    records, pool = parts["test"], parts["example"]
    trained = [label for model in loaded.values() for label in model.folder.labels]
    found = measured_labels(records, trained)
    labels = found.labels
    remedy = "Shorten them, or leave them out, counted: --drop-bad-rows."
    sentences = [found.account] if found.account else []
    for sentence in sentences:
        listener({"event": "warning", "code": "unseen-labels", "message": sentence})
    for name, model in loaded.items():
        longest = longest_answer(model, TestRows(records, labels)) if labels else None
        choice = "drop" if drop else "refuse"
        fitted = fit_prompts(model.renderer, records, model.context, longest, choice, remedy)
        if not fitted.records:
            raise DataError(f"No row leaves room for an answer in the context of {name}.", "Give shorter rows.")
        if fitted.account:
            sentences.append(f"{fitted.account}, which leave no room for an answer in the context of {name}.")
            listener({"event": "warning", "code": "over-long", "message": sentences[-1]})
        records = fitted.records
    return TestRows(records, labels, pool), sentences


def _systems(loaded: Mapping[str, LoadedModel], rows: TestRows, shots: Sequence[int], seed: int) -> list[System]:
    """Every model with every number of worked examples. Raises UsageError where they cannot be given."""
    if any(shots) and not rows.shot_pool:
        raise UsageError("Worked examples need rows to be drawn from.", "Name training rows: --shots-from FILE.")
    systems = []
    for name, model in loaded.items():
        for count in shots:
            asked = ask(model, rows, count, seed)
            if count and not any(asked.shots):
                raise UsageError(
                    f"Not one worked example fits the context of {name}, {model.context:,} tokens.", "Use --shots 0."
                )
            described = f"{count} worked examples in the prompt" if count else "no worked examples"
            title = _name(name, count, shots, list(loaded))
            systems.append(System.of(title, described, model, asked, model.folder.card.get("minutes")))
    return systems


def _seen_rows(name: str, model: LoadedModel, paths: Sequence[str]) -> Iterator[str]:
    """A sentence where the rows are, file for file, those that the model was trained on or chosen by."""
    told = model.folder.card.get("data")
    if not isinstance(told, dict):
        return
    for rows, use in (("training rows", "trained on"), ("validation rows", "chosen by")):
        if any(told.get(rows) == digest_of([path]) for path in paths) or told.get(rows) == digest_of(paths):
            yield f"{name} was {use} these rows: its score on them says little of its score on new ones."


def write_evaluation(folder: Path, content: ReportContent) -> None:
    """Write evaluation.json and report.html."""
    write_json(folder / "evaluation.json", content.result.as_dict())
    write_report(folder / "report.html", content)


def reproduction() -> Reproduction:
    """The command or call that runs now, the machine and the versions."""
    machine = (("processor", _processor()), ("threads", str(torch.get_num_threads())), ("system", platform.system()))
    return Reproduction(running(), machine, tuple((name, version(name)) for name in PACKAGES))


def now() -> str:
    """The time, for a report."""
    return datetime.now(UTC).isoformat(timespec="minutes")


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _name(model: str, count: int, shots: Sequence[int], models: Sequence[str]) -> str:
    """The last part of a model's path, or all of it where another model has the same last part."""
    last = Path(model).name
    alone = sum(Path(other).name == last for other in models) == 1
    short = last if alone and ":" not in model else model
    return f"{short}, {count}-shot" if len(shots) > 1 or count else short
