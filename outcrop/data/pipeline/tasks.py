"""The work on one shard, done in a worker process: row steps, columns for a set step, lines of the result."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.data.certificate import line_of
from outcrop.data.defects import DEFECTS
from outcrop.data.pipeline.account import READ, Account, StepAccount
from outcrop.data.pipeline.blocks import Block, Found, Listing
from outcrop.data.pipeline.chain import Link
from outcrop.data.pipeline.shards import COLUMNS, Mask, Shard, encode
from outcrop.data.records import Origin, Record
from outcrop.data.steps.catalog import STEPS
from outcrop.data.steps.columns import places
from outcrop.data.steps.step import Change, Measure, Outcome, RowStep, Tools

ROWS, DROPPED, CHANGES = "rows", "dropped", "changes"


class Applied(NamedTuple):
    """A step as it is sent to a worker: its name, and its parameters as JSON."""

    name: str
    spec: str

    @classmethod
    def of(cls, link: Link) -> Applied:
        """The step of a link."""
        return cls(link.name, link.spec.model_dump_json())


@dataclass(frozen=True)
class RowTask:
    """Row steps for one shard of `folder`. source: a block of input, or a shard of the stage before with its mask."""

    folder: Path
    number: int
    source: Block | Shard
    mask: Mask | None
    steps: tuple[Applied, ...]
    tools: Tools


class Done(NamedTuple):
    """A finished shard."""

    number: int
    account: dict[str, Any]


def apply_steps(task: RowTask) -> Done:
    """Write the shard: the records that are kept, what was dropped, what was changed, and the account."""
    worker = _RowWork(task)
    rows = [encode(record) for record in worker.records()]
    shard = Shard(task.folder, task.number)
    shard.write_lines(ROWS, rows)
    shard.write_lines(DROPPED, worker.dropped)
    shard.write_lines(CHANGES, worker.changes)
    steps = {name: step.as_dict() for name, step in worker.account.items()}
    account = {"rows": len(rows), "files": worker.files, "steps": steps}
    shard.finish(account, [ROWS, DROPPED, CHANGES])
    return Done(task.number, account)


@lru_cache(maxsize=32)
def built(step: Applied, tools: Tools) -> RowStep[Any]:
    """The step, made once in a process: some load tables."""
    kind = STEPS.load(step.name)
    made = kind(kind.spec_type.model_validate_json(step.spec), tools)
    if not isinstance(made, RowStep):
        raise TypeError(f"{step.name} is no row step")
    return made


class _RowWork:
    def __init__(self, task: RowTask) -> None:
        self._task = task
        self._steps = [(step.name, built(step, task.tools)) for step in task.steps]
        self.account: Account = {name: StepAccount() for name, _ in self._steps}
        self.files: Counter[str] = Counter()
        self.dropped: list[str] = []
        self.changes: list[str] = []

    def records(self) -> Iterator[Record]:
        """The records that every step keeps."""
        for record in self._source():
            kept = self._chained(record)
            if kept is not None:
                yield kept

    def _source(self) -> Iterator[Record]:
        source = self._task.source
        if isinstance(source, Shard):
            yield from source.records(self._task.mask)
            return
        problems = Listing()
        for record in source.records(problems):
            self.files[record.origin.file] += 1
            yield record
        self._read(source.found + problems.take())

    def _read(self, found: Sequence[Found]) -> None:
        """Count the rows that could not be read, once each, and the warnings of all rows."""
        account = StepAccount(rows=self.files.total(), kept=self.files.total())
        self.account = {READ: account, **self.account}
        failed: dict[tuple[str, int], Found] = {}
        for problem in found:
            if DEFECTS[problem.code].severity == "warning":
                account.notes[problem.code] += 1
            else:
                failed.setdefault((problem.file, problem.line), problem)
        for problem in failed.values():
            origin = Origin(problem.file, problem.line)
            detail = f"{problem.field}: {problem.message}" if problem.field else problem.message
            account.rows += 1
            account.drop(problem.code, str(origin), detail)
            self.dropped.append(dropped_line(origin, READ, problem.code, detail))

    def _chained(self, record: Record) -> Record | None:
        for name, step in self._steps:
            outcome = step(record)
            self.account[name].add(outcome, str(record.origin))
            self._note(record.origin, name, outcome)
            if outcome.record is None:
                return None
            record = outcome.record
        return record

    def _note(self, origin: Origin, step: str, outcome: Outcome) -> None:
        self.changes += [change_line(origin, step, change) for change in outcome.changes]
        if outcome.drop is not None:
            self.dropped.append(dropped_line(origin, step, outcome.drop.code, outcome.drop.detail))


def dropped_line(origin: Origin, step: str, reason: str, detail: str, like: str = "") -> str:
    """A line of dropped.jsonl. The row itself is not repeated: it stands at its place, and may hold personal data."""
    fields = {"file": origin.file, "line": origin.line, "step": step, "reason": reason, "detail": detail, "like": like}
    return json.dumps({name: value for name, value in fields.items() if value != ""}, ensure_ascii=False)


def change_line(origin: Origin, step: str, change: Change) -> str:
    """A line of changes.jsonl."""
    place = {"file": origin.file, "line": origin.line, "step": step}
    return json.dumps(place | change._asdict(), ensure_ascii=False)


@dataclass(frozen=True)
class MeasureTask:
    """Columns for a set step of one shard. names: all input files, to number the places."""

    folder: Path
    number: int
    source: Shard
    mask: Mask | None
    measure: Measure
    names: tuple[str, ...]


def write_columns(task: MeasureTask) -> Done:
    """Write the columns of a shard, with the place of each row beside them."""
    records = list(task.source.records(task.mask))
    shard = Shard(task.folder, task.number)
    index = shard.write_columns({**task.measure(records), **places(records, task.names)})
    account = {"rows": len(records), "arrays": index}
    shard.finish(account, [COLUMNS])
    return Done(task.number, account)


@dataclass(frozen=True)
class WriteTask:
    """Lines of the result of one shard. parts: for each kept row a number in `names`, -1 for none."""

    folder: Path
    number: int
    source: Shard
    mask: Mask | None
    parts: NDArray[np.int8]
    names: tuple[str, ...]


def write_parts(task: WriteTask) -> Done:
    """Write one file per part that has rows here."""
    lines: dict[str, list[str]] = {name: [] for name in task.names}
    fields: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for record, part in zip(task.source.records(task.mask), task.parts.tolist(), strict=True):
        if part >= 0:
            lines[task.names[part]].append(line_of(record).removesuffix("\n"))
            fields.update(map(str, record.fields))
            kinds[type(record).__name__.lower()] += 1
    shard = Shard(task.folder, task.number)
    for name in task.names:
        shard.write_lines(name, lines[name])
    counts = {name: len(each) for name, each in lines.items()}
    account: Mapping[str, Any] = {"rows": sum(counts.values()), "counts": counts, "fields": fields, "kinds": kinds}
    shard.finish(account, task.names)
    return Done(task.number, dict(account))
