"""`batch`: answers to all rows of files, each distinct request computed once; resumable, cached, publishable."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch

from outcrop.core import settings as environment
from outcrop.core.completions import Sampling, sampling_from
from outcrop.core.engines import ModelRef, Precision
from outcrop.core.errors import UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import Location, digest, staged_folder, write_json
from outcrop.core.invocation import repeatable
from outcrop.data.formats.catalog import CONTAINERS
from outcrop.data.reading import file_type, files
from outcrop.generation.batch import BATCH_TOKENS
from outcrop.generation.batch.bodies import body_reader
from outcrop.generation.batch.job import BatchJob, Output
from outcrop.generation.batch.predictions import PredictionCache
from outcrop.generation.batch.questions import Responder
from outcrop.generation.batch.requests import Asker, Identity
from outcrop.generation.batch.rows import InputFile, Reading, check_names, input_files
from outcrop.generation.batch.runners import RUNNERS, Answering
from outcrop.generation.batch.running import AnsweringSpec
from outcrop.generation.sampling import check_sampling
from outcrop.models.description import size
from outcrop.models.folder import ModelFolder, find_model
from outcrop.models.loading import default_device, load_renderer, open_config, open_tokenizer
from outcrop.models.precision import choose
from outcrop.models.rendering import Renderer
from outcrop.store.batch_work import BatchWork, WorkCounts
from outcrop.store.lookups import LookupSummary, LookupTable, published_folder, table_path
from outcrop.store.objects import fetch
from outcrop.workflows.run_folder import ANSWERS, INPUTS, RESULT, RUN, run_folder

STATE, MANIFEST = "batch.json", "manifest.json.out"
PROBED_ROWS = 64


@dataclass(frozen=True)
class BatchResult:
    """A finished job. Tokens of prompts and answers are summed over the rows that were answered, copies included.

    requests: distinct ones; duplicates: rows that asked what another had asked; computed: by this job, in all attempts;
    prefix_tokens: of prompts, not computed because an earlier prompt began with them; both they and tokens_per_s, of
    answers, are of this attempt. published: the table that was made; unpublished: answers left out of
    it, because they differ from one time to the next.
    """

    to: str
    model: str
    rows: int
    succeeded: int
    failed: int
    requests: int
    duplicates: int
    cache_hits: int
    computed: int
    prompt_tokens: int
    generated_tokens: int
    prefix_tokens: int
    seconds: float
    tokens_per_s: float
    dtype: str
    files: tuple[str, ...]
    published: LookupSummary | None = None
    unpublished: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@repeatable
def batch(
    model: str,
    data: Sequence[str],
    to: str,
    *,
    columns: str = "",
    template: str = "",
    roles: str = "",
    format: str = "",
    invocation: str = "InvokeModel",
    foundation: str = "",
    sampling: Mapping[str, Any] | None = None,
    precision: Precision = "float32",
    batch_tokens: int = BATCH_TOKENS,
    cache: str | None = "",
    publish: str = "",
    runner: str = "local",
    workers: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    listener: Listener = ignore,
) -> BatchResult:
    """Answer all rows of files, folders or s3:// locations; writes the folder `to`, or nothing.

    columns, template, roles, format: how plain records are read; batch files of Bedrock and OpenAI are recognised.
    sampling: fields of core.completions.Sampling, where a row does not set them. precision: in float32 an answer never
    depends on its neighbours. cache: the file of the prediction cache; empty: the one in OUTCROP_HOME; None: none.
    foundation: the foundation model whose format bodies of InvokeModel have, "" for any. publish: the name of a table
    of published answers. runner: local, ray for so many workers of a cluster, 0 for one on each machine, or vllm.
    A row that cannot be answered gets an error; with resume an unfinished job goes on.
    Raises UsageError and ModelError for what can be seen to be wrong, DataError for a file that breaks off.
    """
    began = time.monotonic()
    reading = Reading(columns, template, roles, format, invocation, foundation)
    reading.check()
    if isinstance(data, str):
        raise UsageError(f"data is the text {data!r}.", "Give a list of files, folders or s3:// locations.")
    if precision not in get_args(Precision):
        raise UsageError(f"precision is {precision!r}.", f"Allowed: {', '.join(get_args(Precision))}.")
    table = table_path(published_folder(), publish) if publish else None
    maker = RUNNERS.load(runner)
    asking = _asking(model, sampling or {}, maker.engine)
    torch.set_num_threads(environment.threads())
    with run_folder(to, overwrite=overwrite, resume=resume, inputs=[model, *data], listener=listener) as partial:
        inputs = gathered(data, partial / RUN / INPUTS)
        state = _kept_state(partial / RUN / STATE, _facts(asking, inputs, reading, precision), asking.folder)
        answering = maker(AnsweringSpec(ModelRef(model, state.dtype), asking.digest, batch_tokens, workers), listener)
        path = None if cache is None else Path(cache or environment.home() / "predictions.sqlite")
        with BatchWork(partial / RUN / ANSWERS) as work, PredictionCache(path, listener) as predictions:
            read = body_reader(Responder(model, state.created, asking.renderer, asking.defaults, foundation))
            asker = Asker(asking.folder, asking.renderer, asking.defaults, asking.identity(state.dtype))
            job = BatchJob(inputs, reading, read, asker, work, predictions, listener)
            output = job.run(answering, partial, publishing=table is not None)
            counts = work.counts()
        if output.bedrock.rows:
            write_json(partial / MANIFEST, output.bedrock.manifest())
        published = None
        if table is not None:
            with LookupTable(table) as lookup:
                published = lookup.publish(model, output.entries)
        result = _result(to, model, output, counts, answering, time.monotonic() - began, published, state.dtype)
        write_json(partial / RESULT, result.as_dict())
    return result


class Asking(NamedTuple):
    """A model as far as rows are put to it: without its weights."""

    folder: ModelFolder
    renderer: Renderer
    defaults: Sampling
    weights: str
    adapter: str
    engine: str

    @property
    def digest(self) -> str:
        """Of the model's folder."""
        return self.adapter or self.weights

    def identity(self, dtype: str) -> Identity:
        """What decides its answers beside what is asked."""
        spec = [self.renderer.chat_template, self.renderer.spec.model_dump(mode="json"), self.renderer.stop_ids]
        where = default_device().type if self.engine == "embedded" else self.engine
        return Identity(self.weights, self.adapter, json.dumps(spec, sort_keys=True), dtype, where, _versions())


class State(NamedTuple):
    """What an unfinished job was begun with and cannot be found out again."""

    created: int
    dtype: Precision


def gathered(data: Sequence[str], fetched: Path) -> list[InputFile]:
    """The files of rows, in order; those of s3:// are brought to the folder `fetched`, once.

    Raises UsageError for what is not there, for unknown types, and for two files of one name.
    """
    found: list[InputFile] = []
    for number, name in enumerate(data):
        location = Location.parse(name)
        path = fetched / str(number) if location.scheme == "s3" else Path(location.rest)
        if location.scheme == "s3" and not path.exists():
            with staged_folder(path) as folder:
                fetch(name, folder, lambda inside: file_type(Path(inside)) in CONTAINERS)
        if path.is_dir():
            found += input_files(path)
        else:
            found += [InputFile(file, file.name) for file, _ in files([name])]
    check_names(found)
    return found


def _asking(model: str, sampling: Mapping[str, Any], engine: str) -> Asking:
    folder = find_model(model)
    tokenizer = open_tokenizer(folder)
    defaults = sampling_from(sampling)
    check_sampling(defaults, size(tokenizer), "the job's sampling")
    adapter = folder.digest() if folder.base is not None else ""
    return Asking(folder, load_renderer(folder, tokenizer), defaults, folder.root.digest(), adapter, engine)


def _facts(asking: Asking, inputs: Sequence[InputFile], reading: Reading, precision: str) -> dict[str, Any]:
    """What decides the bytes of the result."""
    identity = asdict(asking.identity(precision))
    return {
        "version of Outcrop": identity.pop("versions"),
        "model": identity,
        "inputs": [{"file": file.name, "digest": digest(file.path)} for file in inputs],
        "reading": asdict(reading),
        "sampling": asdict(asking.defaults),
    }


def _kept_state(path: Path, facts: dict[str, Any], folder: ModelFolder) -> State:
    """Note what the job is made from; refuse to go on with one that was made from something else."""
    if path.is_file():
        before = json.loads(path.read_text("utf-8"))
        now = json.loads(json.dumps(facts))
        if different := [name for name, value in now.items() if before["facts"].get(name) != value]:
            raise UsageError(
                f"The unfinished job was begun with another {' and another '.join(different)}.",
                "Repeat what it was begun with, or start anew with --overwrite.",
            )
        return State(before["created"], before["dtype"])
    state = State(int(time.time()), _dtype(folder, facts["model"]["dtype"]))
    write_json(path, {"facts": facts, **state._asdict()})
    return state


@lru_cache(maxsize=1)
def _versions() -> str:
    """Of what computes."""
    return ", ".join(f"{name} {version(name)}" for name in ("outcrop", "torch", "transformers"))


def _dtype(folder: ModelFolder, precision: Precision) -> Precision:
    """The dtype that is computed in, before there is a model: it is a part of what answers are known by."""
    if precision != "auto":
        return precision
    config = open_config(folder)
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    chosen = choose(precision, width=config.hidden_size, inner=inner, rows=PROBED_ROWS, device=default_device())
    return "bfloat16" if chosen.dtype == torch.bfloat16 else "float32"


def _result(
    to: str, model: str, output: Output, counts: WorkCounts, answering: Answering, seconds: float,
    published: LookupSummary | None, dtype: str,
) -> BatchResult:  # fmt: skip
    tally = output.tally
    rate = answering.generated_tokens / answering.seconds if answering.seconds else 0.0
    return BatchResult(
        to=to, model=model, rows=tally.rows, succeeded=tally.succeeded, failed=tally.failed,
        requests=counts.requests, duplicates=counts.rows - counts.broken - counts.requests,
        cache_hits=counts.recalled, computed=counts.computed,
        prompt_tokens=tally.prompt_tokens, generated_tokens=tally.generated_tokens,
        prefix_tokens=answering.prefix_tokens, seconds=round(seconds, 3), tokens_per_s=round(rate, 1), dtype=dtype,
        files=tuple(output.files), published=published, unpublished=tally.unpublished if published else None,
    )  # fmt: skip
