"""`pretrain`: continue the pre-training of a model on text, or make a new base model by the same loop."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer

from outcrop.core import settings as environment
from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import digest, write_json
from outcrop.core.invocation import repeatable
from outcrop.core.results import Estimate
from outcrop.core.seeds import derive
from outcrop.data.records import Record, Text
from outcrop.data.shingles import normalise
from outcrop.evaluation.comparison import estimate
from outcrop.evaluation.metrics.bits_per_byte import METRIC as BITS_PER_BYTE
from outcrop.evaluation.metrics.metric import Example as TextExample
from outcrop.models.description import size
from outcrop.models.folder import ModelFolder, find_model
from outcrop.models.loading import LoadedModel, default_device, load_model, load_tokenizer
from outcrop.models.plain_weights import require_floats
from outcrop.models.rendering import Renderer
from outcrop.models.scratch import ShapeSpec, as_fast, learn_tokenizer, new_model
from outcrop.training.engine import TrainingEngine
from outcrop.training.journal import read_journal, write_metrics
from outcrop.training.loop import Outcome, Task, TrainingRun
from outcrop.training.scoring import score_rows
from outcrop.training.spec import TrainingSpec
from outcrop.training.tokens import TokenShard, Windows, by_document
from outcrop.training.trunk import Trunk
from outcrop.workflows.records import Rows, Source, read_rows, renderable
from outcrop.workflows.resolving import ResolvedSpec, parse_settings, resolve
from outcrop.workflows.run_folder import RESULT, RUN, run_folder
from outcrop.workflows.saving import save_description, save_model

DEFAULTS = {
    "epochs": 1,
    "batch_size": 16,
    "evaluations_per_epoch": 10,
    "eval_percentage": 1,
    "weight_decay": 0.1,
    "beta2": 0.95,
}
FROM_SCRATCH = {"learning_rate": 1e-2, "optimizer": "muon"}
"""benchmarks/from_scratch shows what Muon and this rate are worth."""
WATCHED_WINDOWS = 64
"""Validation windows at most, so that watching costs little; scores are measured on all held-out documents."""
SCORED_DOCUMENTS = 500


@dataclass(frozen=True)
class TextScore:
    """Bits per byte of a text set before and after training, with 95 % intervals; before is None for a new model."""

    name: str
    documents: int
    before: Estimate | None
    after: Estimate


@dataclass(frozen=True)
class PretrainResult:
    """A model made from text. model: its folder; tokens: in the training text; scores: held-out and general text."""

    model: str
    steps: int
    tokens: int
    stop_reason: str
    minutes: float
    estimated_minutes: float
    peak_memory_gb: float
    scores: tuple[TextScore, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@repeatable
def pretrain(
    base: str | None,
    data: Sequence[str],
    to: str,
    *,
    from_scratch: str = "",
    tokenizer: str = "",
    validation: Sequence[str] = (),
    general: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    sources: Mapping[str, str] | None = None,
    columns: str = "",
    format: str = "",
    drop_bad_rows: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    listener: Listener = ignore,
) -> PretrainResult:
    """Train on unlabelled text and save a model folder at `to`.

    base: the model to continue from; or from_scratch: a SHAPE.toml for a new one, with the tokenizer of the model
    or folder `tokenizer`, or one learnt from the text. validation: held-out text, else a
    share is held out by document. general: text on which forgetting is measured. Raises UserErrors for what the user
    can mend, before training, and leaves nothing at `to` unless all went well.
    """
    if (base is None) == (not from_scratch):
        raise UsageError(
            "Give a base model or a shape to start from, one of them.", "--base MODEL or --from-scratch SHAPE.toml."
        )
    if tokenizer and base is not None:
        raise UsageError("A base model brings its own tokenizer.", "Give --tokenizer with --from-scratch.")
    torch.set_num_threads(environment.threads())
    defaults = DEFAULTS | (FROM_SCRATCH if from_scratch else {})
    spec = parse_settings(settings or {}, defaults)
    said = dict.fromkeys(defaults.keys() - (settings or {}).keys(), "default of pretraining") | dict(sources or {})
    source = Source(tuple(data), columns, format=format, drop_bad_rows=drop_bad_rows)
    inputs = (*filter(None, (base, from_scratch, tokenizer)), *data, *validation, *general)
    with run_folder(to, overwrite=overwrite, resume=resume, inputs=inputs, listener=listener) as folder:
        listener({"event": "stage", "title": "Reading text"})
        corpus = _corpus(source, validation, general, spec, listener)
        if base is not None:
            require_floats(find_model(base), "pre-training")
            loaded = load_model(base)
        else:
            shape = ShapeSpec.from_file(Path(from_scratch))
            words = _tokenizer(tokenizer, shape, corpus.train, folder / RUN, listener)
            loaded = _new(from_scratch, shape, words, spec.seed)
        corpus = _renderable(corpus, loaded.renderer, listener, drop=drop_bad_rows)
        result = _pretrained(loaded, corpus, spec, said, Place(to, folder, base, from_scratch), listener)
        write_json(folder / RESULT, result.as_dict())
    return result


@dataclass(frozen=True)
class Corpus:
    """Texts of a run: to train on, held out, and others by name on which forgetting is measured."""

    train: list[Record]
    held: list[Record]
    others: dict[str, list[Record]]
    digest: str


class Place(NamedTuple):
    """Where a run goes (`to`, and the folder until then) and what it starts from."""

    to: str
    folder: Path
    base: str | None
    shape: str


def _corpus(
    source: Source, validation: Sequence[str], general: Sequence[str], spec: TrainingSpec, listener: Listener
) -> Corpus:
    rows = _texts(read_rows(source, listener))
    held = _texts(read_rows(source.at(validation), listener)).records if validation else []
    train, held = (rows.records, held) if held else _hold_out(rows.records, spec.eval_percentage, spec.seed)
    names = [Path(path).name for path in general]
    others = {
        name if names.count(name) == 1 else path: _texts(read_rows(source.at([path]), listener)).records
        for path, name in zip(general, names, strict=True)
    }
    return Corpus(train, held, others, rows.digest)


def _renderable(corpus: Corpus, renderer: Renderer, listener: Listener, *, drop: bool) -> Corpus:
    rows = {"training": corpus.train, "held-out": corpus.held, **corpus.others}
    found = renderable([renderer], rows, listener, drop=drop).parts
    others = {name: found[name] for name in corpus.others}
    return replace(corpus, train=found["training"], held=found["held-out"], others=others)


def _pretrained(
    loaded: LoadedModel, corpus: Corpus, spec: TrainingSpec, said: Mapping[str, str], place: Place, listener: Listener
) -> PretrainResult:
    listener({"event": "stage", "title": "Tokenising"})
    window = min(spec.max_length or loaded.context, loaded.context)
    shard = _tokens(loaded, corpus.train, place.folder / RUN / "tokens")
    windows = Windows(shard, window)
    watched = by_document(_ids(loaded, corpus.held), window)[:WATCHED_WINDOWS]
    resolved = resolve(spec, said, loaded, len(windows), listener, place.folder / RUN)
    texts = {"held-out text": corpus.held, **corpus.others}
    before = _bits(load_model(place.base), texts, window) if place.base else {}
    start = loaded.folder.digest() if place.base else digest(Path(place.shape))
    task = Task(windows, watched, None, {"training text": shard.digest(), "start": start})
    outcome = _train(loaded, resolved, task, place.folder, listener)
    listener({"event": "stage", "title": "Scoring"})
    after = _bits(load_model(str(place.folder)), texts, window)
    scores = tuple(TextScore(name, len(texts[name]), before.get(name), found) for name, found in after.items())
    data = {"digest": corpus.digest, "documents": len(corpus.train), "tokens": len(shard.ids)}
    card = {"kind": "pretrained", "data": data, "metrics": {score.name: asdict(score) for score in scores}}
    save_description(place.folder, loaded, resolved, card)
    return PretrainResult(
        place.to, outcome.steps, len(shard.ids), outcome.reason, outcome.minutes, outcome.estimated_minutes,
        outcome.peak_memory_gb, scores,
    )  # fmt: skip


def _texts(rows: Rows) -> Rows:
    wrong = next((record for record in rows.records if not isinstance(record, Text)), None)
    if wrong is not None:
        raise DataError(
            "This is labelled data, not text.",
            "Use outcrop tune, or name the column: --map text=COLUMN.",
            str(wrong.origin),
        )
    return rows


def _hold_out(records: Sequence[Record], percent: float, seed: int) -> tuple[list[Record], list[Record]]:
    """Documents for validation, by a hash of their normalised text, so that equal documents stay on one side."""
    share = percent / 100
    parts: tuple[list[Record], list[Record]] = ([], [])
    for record in records:
        assert isinstance(record, Text)
        key = hashlib.sha256(normalise(record.text).encode()).hexdigest()
        parts[derive(seed, "hold out", key) / 2**63 < share].append(record)
    if not parts[1]:
        parts[1].append(parts[0].pop())
    if not parts[0]:
        raise DataError("There is too little text to hold some out.", "Give more documents, or --validation FILE.")
    return parts


def _tokenizer(named: str, shape: ShapeSpec, train: Sequence[Record], folder: Path, listener: Listener) -> Any:
    """Of the model that is named; else that of a resumed run, whose tokens were made with it; else a new one."""
    file = folder / "tokenizer.json"
    if named:
        path = Path(named)
        tokenizer = load_tokenizer(ModelFolder(named, path, None, {}) if path.is_dir() else find_model(named))
    elif file.exists():
        tokenizer = as_fast(Tokenizer.from_file(str(file)), shape)
    else:
        listener({"event": "stage", "title": f"Learning a tokenizer of {shape.vocabulary} tokens"})
        tokenizer = learn_tokenizer((record.text for record in train if isinstance(record, Text)), shape)
    tokenizer.backend_tokenizer.save(str(file))
    return tokenizer


def _new(shape_file: str, shape: ShapeSpec, tokenizer: Any, seed: int) -> LoadedModel:
    model = new_model(shape, tokenizer, seed).to(default_device()).eval()
    return LoadedModel(ModelFolder(shape_file, Path(shape_file), None, {}), model, tokenizer, Renderer(tokenizer))


def _ids(loaded: LoadedModel, records: Sequence[Record]) -> list[list[int]]:
    return list(loaded.renderer.render_texts(record for record in records if isinstance(record, Text)))


def _tokens(loaded: LoadedModel, train: Sequence[Record], folder: Path) -> TokenShard:
    documents = loaded.renderer.render_texts(record for record in train if isinstance(record, Text))
    return TokenShard.write(folder, documents, size(loaded.tokenizer))


def _train(loaded: LoadedModel, resolved: ResolvedSpec, task: Task, folder: Path, listener: Listener) -> Outcome:
    listener({"event": "stage", "title": "Training"})
    engine = TrainingEngine(loaded.model, resolved.spec, resolved.precision.dtype)
    outcome = TrainingRun(engine, task, resolved.spec, folder / RUN, listener).run()
    save_model(folder, loaded, engine, resolved)
    write_metrics(folder / RUN, read_journal(folder / RUN / "journal.jsonl"))
    return outcome


def _bits(loaded: LoadedModel, texts: Mapping[str, Sequence[Record]], window: int) -> dict[str, Estimate]:
    """Bits per byte of each set, in fp32; documents beyond SCORED_DOCUMENTS are left out, evenly."""
    trunk, found = Trunk(loaded.model), {}
    for name, records in texts.items():
        step = math.ceil(len(records) / SCORED_DOCUMENTS)
        documents = [record for record in records[::step] if isinstance(record, Text)]
        scores = score_rows(trunk, by_document(_ids(loaded, documents), window), 8192)
        examples = [
            TextExample(
                "",
                (document.text,),
                "",
                logprob=-score.nats,
                tokens=int(score.weight),
                utf8_bytes=len(document.text.encode()),
            )
            for document, score in zip(documents, scores, strict=True)
        ]
        found[name] = estimate(BITS_PER_BYTE, examples)
    return found
