"""`evaluate`: models on the same test rows, with intervals, paired comparisons and a report."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
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
from outcrop.data.labels import label_set
from outcrop.data.records import Record
from outcrop.evaluation.assessment import assess
from outcrop.evaluation.ledger import look, seal
from outcrop.evaluation.metrics.catalog import METRICS
from outcrop.evaluation.report import ReportContent, write_report
from outcrop.evaluation.results import DataFacts, EvaluationResult, Reproduction
from outcrop.models.loading import load_model
from outcrop.workflows.measure import System, TestRows, measure
from outcrop.workflows.records import Source, digest_of, read_rows

PACKAGES = ("outcrop", "torch", "transformers", "tokenizers", "numpy")


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

    columns, template, format: how rows are read; by default as the (last) model was trained. shots_from: the rows that
    worked examples are drawn from. limit: only the first rows. The look at the test set is recorded.
    """
    check_target(Path(to), overwrite=overwrite, inputs=(*models, *data, *shots_from))
    if len(set(models)) < len(models):
        raise UsageError(f"A model is named twice: {', '.join(models)}.", "Name each once; --shots may be repeated.")
    for metric in metrics:
        METRICS.load(metric)
    torch.set_num_threads(environment.threads())
    loaded = {name: load_model(name) for name in models}
    source = Source(tuple(data), columns, template, roles, format, drop_bad_rows)
    if not (columns or template or roles or format):
        stored: dict[str, Any] = next(
            (m.folder.card["source"] for m in reversed(loaded.values()) if "source" in m.folder.card), {}
        )
        source = replace(source, **stored)
    records = read_rows(source, listener).records[:limit]
    pool = read_rows(source.at(shots_from), listener).records if shots_from else []
    if any(shots) and not pool:
        raise UsageError("Worked examples need rows to be drawn from.", "Name training rows: --shots-from FILE.")
    rows = TestRows(records, labels_of(records, [m.folder.card.get("labels") for m in loaded.values()]), pool)
    for name, model in loaded.items():
        _warn_of_seen_rows(name, model.folder.card, data, listener)
    facts = opened(data, len(records), "evaluate", ", ".join(models))
    answered = []
    for name in models:
        for count in shots:
            described = f"{count} worked examples in the prompt" if count else "no worked examples"
            trained = loaded[name].folder.card.get("minutes")
            answered.append(
                measure(
                    System(_name(name, count, shots, models), described, loaded[name], count, trained),
                    rows,
                    listener,
                    seed=seed,
                )
            )
    result = assess("Evaluation", facts, answered, metrics=metrics, seed=seed)
    with staged_folder(Path(to)) as folder:
        write_evaluation(folder, ReportContent(result, reproduction=reproduction(), created=now()))
    return result


def _warn_of_seen_rows(name: str, card: dict[str, Any], data: Sequence[str], listener: Listener) -> None:
    """Say so where the rows are, file for file, those that the model was trained on or chosen by."""
    told = card.get("data")
    if not isinstance(told, dict):
        return
    for rows, use in (("training rows", "trained on"), ("validation rows", "chosen by")):
        if any(told.get(rows) == digest_of([path]) for path in data) or told.get(rows) == digest_of(data):
            message = f"{name} was {use} these rows: its score on them says little of its score on new ones."
            listener({"event": "warning", "code": "seen-rows", "message": message})


def labels_of(records: Sequence[Record], stored: Sequence[list[str] | None]) -> tuple[str, ...] | None:
    """The closed label set: what the models were trained with, and what the test rows hold."""
    found = label_set(records)
    trained = {label for labels in stored for label in labels or ()}
    if not trained:
        return found
    return tuple(sorted(trained | set(found or ())))


def opened(paths: Sequence[str], rows: int, purpose: str, model: str) -> DataFacts:
    """Record a look at the test files in the ledger, before they are used."""
    looks, digests = 0, []
    for path in paths:
        file = Path(path)
        if not file.is_file():
            raise DataError("A test set is a file, not a folder.", "Name its files.", path)
        sealed = seal(file, rows)
        looks = max(looks, look(file, sealed, purpose, model, environment.home() / "ledger"))
        digests.append(sealed.digest)
    return DataFacts(", ".join(paths), " ".join(digests), rows, looks)


def write_evaluation(folder: Path, content: ReportContent) -> None:
    """Write evaluation.json and report.html."""
    write_json(folder / "evaluation.json", content.result.as_dict())
    write_report(folder / "report.html", content)


def reproduction() -> Reproduction:
    """The command that runs now, the machine and the versions."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    machine = (("processor", _processor()), ("threads", str(torch.get_num_threads())), ("system", platform.system()))
    return Reproduction(command, machine, tuple((name, version(name)) for name in PACKAGES))


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
