"""`customize`: a customization job of the service: from data at a URI to a model in the registry and files at a URI."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import staged_folder, write_json
from outcrop.data.invocation_logs import FORMAT as LOG_FORMAT
from outcrop.data.invocation_logs import LARGE_BODIES
from outcrop.models.fitting import fit
from outcrop.models.folder import find_model
from outcrop.models.loading import load_model
from outcrop.store.places import Places, PlacesSpec
from outcrop.training.batches import from_rows
from outcrop.training.journal import read_journal
from outcrop.training.scoring import score_rows, summarise
from outcrop.training.trunk import Trunk
from outcrop.workflows.data_report import published
from outcrop.workflows.distill import distill
from outcrop.workflows.fine_tune import tune
from outcrop.workflows.pretrain import pretrain
from outcrop.workflows.records import Source, read_rows
from outcrop.workflows.run_folder import JOB, RESULT, RUN, is_of_job, tidy

SMALL = 300_000_000
"""Parameters up to which all weights are trained where nobody says how."""
SCORED_TOKENS = 8192
METRICS = {
    "step_wise_training_metrics.csv": ("training_artifacts/step_wise_training_metrics.csv",),
    # Bedrock's documents and its users' programs disagree on the place: both find it.
    "validation_metrics.csv": (
        "validation_artifacts/post_fine_tuning_validation/validation_metrics.csv",
        "validation_artifacts/post_fine_tuning_validation/validation/validation_metrics.csv",
    ),
}
"""Where Bedrock's clients look for the files of a run."""
PUBLISHING = "Writing the results"
ANY_SPEED = 0.001
"""Times the teacher's speed."""


@dataclass(frozen=True)
class CustomizeResult:
    """A model that was made. training_loss: of the last step; validation_losses: one for each file of validation."""

    model: str
    steps: int
    minutes: float
    training_loss: float
    validation_losses: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def customize(
    base: str,
    to: str,
    *,
    kind: Literal["tune", "pretrain", "distill"],
    training: str,
    validation: Sequence[str] = (),
    output: str,
    places: Mapping[str, Any],
    method: str = "",
    settings: Mapping[str, Any] | None = None,
    distillation: Mapping[str, Any] | None = None,
    listener: Listener = ignore,
) -> CustomizeResult:
    """Fetch the data, tune, pretrain or teach `base` on them, write metrics and weights below `output`, and make `to`
    of it.

    training, validation, output: URIs within `places`, the fields of a PlacesSpec; distillation: of the kind distill,
    the teacher, longest_answer, relabel, and whether training is of invocation logs, with filters in where. A job that
    was interrupted goes on where it was. Raises what the verb of its kind raises, in terms of the URIs; problems of the
    data are also written below `output`, all of them.
    """
    store, work = Places(PlacesSpec.parse(places)), Path(f"{to}.work")
    listener({"event": "stage", "title": "Fetching the data"})
    sources = _fetched(store, [training, *validation], work / "inputs")
    model = work / "model"
    try:
        if is_of_job(model, JOB.get()):
            tidy(model)
        else:
            chosen = _settings(base, kind, method, settings or {})
            if distillation is None:
                _trained(kind, base, model, sources, chosen, listener)
            else:
                _taught(base, model, sources, chosen, distillation, listener)
        losses = _validation_losses(kind, model, sources[1:])
    except DataError as error:
        names = dict(zip(map(str, sources), [training, *validation], strict=True))
        raise published(store, output, error, names) from None
    listener({"event": "stage", "title": PUBLISHING})
    _publish(store, output, model)
    return _finished(model, Path(to), work, losses)


def _fetched(store: Places, uris: Sequence[str], target: Path) -> list[Path]:
    """Local copies of what the URIs name, made once, so that every attempt sees the same bytes."""
    folders = [target / str(number) for number in range(len(uris))]
    found = [store.files(uri) for uri in uris]
    if not target.exists():
        with staged_folder(target) as scratch:
            for number, (uri, files) in enumerate(zip(uris, found, strict=True)):
                if not files:
                    raise UsageError(f"There is nothing at {uri}.", "Put the data there.")
                (scratch / str(number)).mkdir()
                for file in files:
                    if LARGE_BODIES in file.name.split("/")[:-1]:  # of invocation logs: of no use without their records
                        continue
                    name = file.name.replace("/", "-") or uri.rstrip("/").rpartition("/")[2]
                    store.fetch(uri, file.name, scratch / str(number) / name)
    return [next(iter(folder.iterdir())) if len(list(folder.iterdir())) == 1 else folder for folder in folders]


def _settings(base: str, kind: str, method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if "method" in given or kind != "tune":
        return dict(given)
    return {"method": method or ("full" if find_model(base).root.parameters <= SMALL else "lora"), **given}


def _trained(
    kind: str, base: str, model: Path, sources: Sequence[Path], settings: Mapping[str, Any], listener: Listener
) -> None:
    verb: Any = tune if kind == "tune" else pretrain
    data, *validation = (str(source) for source in sources)
    said = dict.fromkeys(settings, "hyperParameters")
    verb(base, [data], str(model), validation=validation, settings=settings, sources=said, listener=listener)


def _taught(
    student: str,
    model: Path,
    sources: Sequence[Path],
    settings: Mapping[str, Any],
    distillation: Mapping[str, Any],
    listener: Listener,
) -> None:
    """The student was chosen by whoever asked: it is trained however fast it is, and the report tells how fast.
    Its weights stay floats, for it may be customized again."""
    data, *validation = (str(source) for source in sources)
    distill(
        distillation["teacher"], [data], str(model), students=[student], faster=ANY_SPEED, validation=validation,
        int8="never", relabel=distillation["relabel"], longest_answer=distillation["longest_answer"],
        format=LOG_FORMAT if distillation["from_logs"] else "", where=distillation["where"], settings=settings,
        sources=dict.fromkeys(settings, "hyperParameters"), listener=listener,
    )  # fmt: skip


def _validation_losses(kind: str, model: Path, validation: Sequence[Path]) -> tuple[float, ...]:
    """The loss on each file of validation rows, of the weights that are kept."""
    if not validation:
        return ()
    if len(validation) == 1:
        events = read_journal(model / RUN / "journal.jsonl")
        best = [event for event in events if event["event"] == "evaluation" and event["best"]]
        return (best[-1]["validation_loss"],) if best else ()
    assert kind == "tune", "text is validated on one file"
    loaded = load_model(str(model))
    trunk, losses = Trunk(loaded.model), []
    for path in validation:
        rows = read_rows(Source((str(path),)), ignore).records
        fitted = fit(loaded.renderer, rows, loaded.context, "drop")
        losses.append(summarise(score_rows(trunk, from_rows(fitted.rows), SCORED_TOKENS)).loss)
    return tuple(losses)


def _publish(store: Places, output: str, model: Path) -> None:
    """Bedrock's metrics where its clients look for them, and what Bedrock keeps to itself: the weights."""
    for name, targets in METRICS.items():
        for target in targets:
            with (model / RUN / name).open("rb") as file:
                store.put(output, target, file)
    for path in sorted(model.iterdir()):
        if path.is_file() and path.name != RESULT:
            with path.open("rb") as file:
                store.put(output, f"model/{path.name}", file)


def _finished(model: Path, to: Path, work: Path, losses: tuple[float, ...]) -> CustomizeResult:
    """Write the result, and put the model where it is served from: from then on the job has succeeded."""
    told = json.loads((model / RESULT).read_text("utf-8"))
    steps = [event for event in read_journal(model / RUN / "journal.jsonl") if event["event"] == "step"]
    result = CustomizeResult(str(to), steps[-1]["step"], told["minutes"], steps[-1]["loss"], losses)
    write_json(model / RESULT, {**told, **result.as_dict()})
    os.replace(model, to)
    shutil.rmtree(work)
    return result
