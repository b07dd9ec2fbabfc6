"""`data synthesise`: a model makes rows of other rows: paraphrases, or answers to texts without one, each marked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from outcrop.core import settings as environment
from outcrop.core.completions import Completion, CompletionRequest, Generator, Sampling
from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import digest, write_json
from outcrop.core.seeds import derive
from outcrop.data.certificate import CERTIFICATE, line_of
from outcrop.data.mapping import Mapping as ColumnMapping
from outcrop.data.mapping import fill
from outcrop.data.pipeline.output import DROPPED_FILE, ROWS_FILE, join
from outcrop.data.pipeline.shards import Shard, decode, encode
from outcrop.data.pipeline.tasks import dropped_line
from outcrop.data.reading import Paths, files, load
from outcrop.data.records import Conversation, Message, Pair, Record, prompt_text
from outcrop.data.synthesis import Judge, SynthesisSpec, made_of, plan, prompt_of
from outcrop.data.synthetic import marked, prompt_key
from outcrop.generation.cascade import engine_of
from outcrop.models.asking import TUNED, in_form
from outcrop.models.loading import LoadedModel, load_model
from outcrop.workflows.run_folder import RUN, STAGES, run_folder

TOGETHER = 64
"""Requests that are answered at once; so many are lost when it is killed."""

ACCOUNT_FILE = "synthesis.json"
STATE = "state.json"
MADE, WRITTEN, DROPPED = "made", "rows", "dropped"


@dataclass(frozen=True)
class SynthesisResult:
    """A finished synthesis: its folder, and the account that stands in its synthesis.json."""

    folder: Path
    account: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The account as JSON-ready fields."""
        return {"folder": str(self.folder), **self.account}


def synthesise(
    model: str,
    data: Paths,
    to: str | Path,
    mapping: ColumnMapping | None = None,
    format: str | None = None,
    spec: SynthesisSpec | None = None,
    listener: Listener = ignore,
    *,
    overwrite: bool = False,
    resume: bool = False,
) -> SynthesisResult:
    """Have a model make rows of data files, and write them to the folder `to`: rows.jsonl holds the new rows alone.

    Every row says how it was made, by which model and from which row; splits keep such rows in training. Rows that
    are synthetic themselves make none. Raises UsageError for validation and test files of a split, DataError for
    rows that do not fit what is asked for, or where no row could be made.
    """
    spec = spec or SynthesisSpec()
    names = [name for _, name in files(data)]
    for path, name in files(data):
        _refuse_held_out(path, name)
    listener({"event": "stage", "title": "Reading"})
    records = load(data, mapping, format)
    sources = [record for record in records if not marked(record)]
    wanted = plan(sources, spec)
    with run_folder(str(to), overwrite=overwrite, resume=resume, inputs=names, listener=listener) as partial:
        folder = partial / RUN / STAGES / "0-synthesis"
        folder.mkdir(parents=True, exist_ok=True)
        listener({"event": "stage", "title": f"Loading {model}"})
        torch.set_num_threads(environment.threads())
        loaded = load_model(model)
        facts = {
            "model": model, "model_digest": loaded.folder.digest(), "parameters": spec.model_dump(mode="json"),
            "inputs": [{"file": name, "digest": digest(path)} for path, name in files(data)],
            "mapping": mapping.model_dump() if mapping else None,
        }  # fmt: skip
        _keep_state(folder.parent / STATE, facts, resume=resume)
        judge = Judge({prompt_key(prompt_text(record)) for record in records}, spec)
        engine = engine_of(loaded)
        work = _Work(loaded, engine, spec, judge, sources, f"{model} {loaded.folder.digest()}")
        shards = list(work.shards(folder, wanted, listener))
        counts = {"rows_read": len(records), "already_synthetic": len(records) - len(sources), "asked": len(wanted)}
        account = _written(shards, partial, counts | facts)
    return SynthesisResult(Path(to), account)


@dataclass(frozen=True)
class _Work:
    """A model at work on rows."""

    loaded: LoadedModel
    generator: Generator
    spec: SynthesisSpec
    judge: Judge
    sources: Sequence[Record]
    model: str

    def shards(self, folder: Path, wanted: Sequence[tuple[int, int]], listener: Listener) -> Iterator[Shard]:
        """All shards, those made that are not there yet."""
        for number, start in enumerate(range(0, len(wanted), TOGETHER)):
            shard, part = Shard(folder, number), wanted[start : start + TOGETHER]
            if shard.account() is None:
                self._make(shard, part)
            else:
                for record in (decode(line) for line in shard.lines(MADE)):
                    self.judge.remember(prompt_text(record))
            done = start + len(part)
            listener({"event": "progress", "title": "Writing rows", "done": done, "total": len(wanted)})
            yield shard

    def _make(self, shard: Shard, part: Sequence[tuple[int, int]]) -> None:
        made: list[Record] = []
        dropped: list[tuple[Record, str]] = []
        asked: list[tuple[Record, CompletionRequest]] = []
        for row, copy in part:
            request = self._request(self.sources[row], row, copy)
            if isinstance(request, str):
                dropped.append((self.sources[row], request))
            else:
                asked.append((self.sources[row], request))
        for (source, _), done in zip(asked, self._completions([request for _, request in asked]), strict=True):
            text = done.text.strip()
            reason = self.judge.reason(prompt_of(source) or "", text, ended=done.finish_reason == "stop")
            if reason:
                dropped.append((source, reason))
            else:
                made.append(made_of(source, text, self.spec, self.model))
        shard.write_lines(MADE, map(encode, made))
        shard.write_lines(WRITTEN, (line_of(record).removesuffix("\n") for record in made))
        shard.write_lines(DROPPED, (dropped_line(each.origin, "synthesise", reason, "") for each, reason in dropped))
        counts = {"rows": len(made), "dropped": Counter(reason for _, reason in dropped)}
        shard.finish(counts, [MADE, WRITTEN, DROPPED])

    def _completions(self, requests: list[CompletionRequest]) -> list[Completion]:
        return self.generator.complete(requests) if requests else []

    def _request(self, source: Record, row: int, copy: int) -> CompletionRequest | str:
        """What the model is asked, or the reason why it is not."""
        prompt = prompt_of(source)
        if prompt is None:
            return "several-turns"
        record = self._asked(fill(self.spec.asked, {"prompt": prompt}))
        renderer = self.loaded.renderer
        if renderer.special_tokens_in(record):
            return "special-token"
        ids = renderer.prompt(record)
        if len(ids) + self.spec.max_new_tokens > self.loaded.context:
            return "too-long"
        sampling = Sampling(
            max_new_tokens=self.spec.max_new_tokens, temperature=self.spec.temperature, top_p=self.spec.top_p,
            seed=derive(self.spec.seed, "synthesise", row, copy), stop_ids=renderer.stop_ids,
        )  # fmt: skip
        return CompletionRequest(tuple(ids), sampling)

    def _asked(self, text: str) -> Record:
        """The text in the form that the model is used to: that of its tuning, a turn, or plain."""
        card = self.loaded.folder.card
        if self.spec.how == "answer":
            text = in_form(self.loaded.folder, text)
        tuned_on_pairs = card.get("kind") in TUNED and not card.get("conversations")
        if tuned_on_pairs or not (card.get("conversations") or self.loaded.tokenizer.chat_template):
            return Pair(text, "")
        return Conversation((Message("user", text),))


def _written(shards: Sequence[Shard], folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the files of the result and return the account. Raises DataError where no row was made."""
    accounts = [shard.account() or {} for shard in shards]
    made = sum(account["rows"] for account in accounts)
    dropped = sum((Counter(account["dropped"]) for account in accounts), Counter[str]())
    if not made:
        said = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common())
        raise DataError(f"No row could be made ({said or 'none was asked for'}).", "Ask a more able model.")
    found = join((shard.path(WRITTEN) for shard in shards), folder / ROWS_FILE)
    join((shard.path(DROPPED) for shard in shards), folder / DROPPED_FILE)
    account = {
        "version": 1, **facts, "made": made, "dropped": dict(dropped.most_common()), "digests": {"rows": found}
    }  # fmt: skip
    write_json(folder / ACCOUNT_FILE, account)
    return account


def _refuse_held_out(path: Path, name: str) -> None:
    """Nothing is made from rows that a model will be measured on."""
    if path.stem in ("validation", "test") and (path.parent / CERTIFICATE).is_file():
        raise UsageError(
            f"{name} is the {path.stem} part of a split: rows made from it would give it away.",
            f"Name {path.with_stem('train')}.",
        )


def _keep_state(path: Path, facts: Mapping[str, Any], *, resume: bool) -> None:
    """Note what the shards are made from; refuse to go on with shards that were made from something else."""
    if resume and path.is_file():
        before = json.loads(path.read_text("utf-8"))
        if different := [name for name, value in json.loads(json.dumps(facts)).items() if before.get(name) != value]:
            raise UsageError(
                f"The unfinished synthesis was begun with another {' and another '.join(different)}.",
                "Repeat what it was begun with, or start anew with --overwrite.",
            )
    write_json(path, facts)
