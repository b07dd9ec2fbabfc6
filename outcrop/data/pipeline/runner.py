"""The run of a chain: stages of row steps and set steps over shards in a work folder, each resumable by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain as chained
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError
from outcrop.core.events import Listener
from outcrop.data.pipeline import tasks
from outcrop.data.pipeline.account import READ, Account, StepAccount, merge
from outcrop.data.pipeline.blocks import Block, Inputs, Listing, blocks
from outcrop.data.pipeline.chain import Chain, Link
from outcrop.data.pipeline.following import Following
from outcrop.data.pipeline.pool import Workers
from outcrop.data.pipeline.shards import COLUMNS, Mask, Shard, Stored
from outcrop.data.problems import Problems
from outcrop.data.records import Origin, Record
from outcrop.data.steps.columns import Columns
from outcrop.data.steps.step import SAMPLE_ROWS, Decision, SetStep, Tools

WHOLE_FILE = ("broken-compression", "decompression-bomb", "broken-parquet", "empty-file", "unknown-format")
"""Defects by which a file loses an unknown number of rows: such a file is refused, never used in part."""


@dataclass(frozen=True)
class Stage:
    """The rows after some steps: shards, and for each a mask of what later set steps kept (None: everything).

    parts: for each remaining row the part it goes to; order: row numbers of the training part, with repetitions.
    """

    shards: tuple[Shard, ...]
    masks: tuple[Mask | None, ...]
    counts: tuple[int, ...]
    parts: NDArray[np.int8] | None = None
    part_names: tuple[str, ...] = ()
    order: NDArray[np.int64] | None = None
    certificate: Mapping[str, Any] | None = None

    @property
    def rows(self) -> int:
        """How many rows are left."""
        return sum(self.counts)

    def sources(self) -> Iterator[tuple[Shard, Mask | None]]:
        """Shards with their masks."""
        return zip(self.shards, self.masks, strict=True)

    def records(self) -> Iterator[Record]:
        """All records, in order."""
        return chained.from_iterable(shard.records(mask) for shard, mask in self.sources())

    def without(self, rows: NDArray[np.int64]) -> Stage:
        """The stage without some of its remaining rows."""
        keep = np.ones(self.rows, dtype=bool)
        keep[rows] = False
        masks, counts = [], []
        for mask, part in zip(self.masks, np.split(keep, np.cumsum(self.counts)[:-1]), strict=True):
            whole = np.ones(len(part), dtype=bool) if mask is None else mask.copy()
            whole[np.flatnonzero(whole)] = part
            masks.append(whole)
            counts.append(int(part.sum()))
        parts = None if self.parts is None else self.parts[keep]
        return replace(self, masks=tuple(masks), counts=tuple(counts), parts=parts)


@dataclass
class Run:
    """A chain at work in `folder`. The account and the files of dropped and changed rows grow with its stages."""

    inputs: Inputs
    chain: Chain
    folder: Path
    pool: Workers
    tools: Tools
    listener: Listener
    account: Account = field(default_factory=dict)
    dropped: list[Path] = field(default_factory=list)
    changed: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._names = tuple(name for _, name in self.inputs.files())
        self._share: float | None = None

    def run(self) -> Stage:
        """All stages. Raises DataError where a file cannot be used or nothing is left."""
        groups = [
            (is_set, list(links))
            for is_set, links in groupby(self.chain.links, key=lambda link: isinstance(link.build(self.tools), SetStep))
        ]
        first = groups.pop(0)[1] if groups and not groups[0][0] else []
        stage = self._read(first)
        number = 1
        for is_set, links in groups:
            if not is_set:
                stage = self._rows(f"{number}-{links[0].name}", links, stage.sources(), stage.rows)
                number += 1
                continue
            for link in links:
                stage = self._set(f"{number}-{link.name}", link, stage)
                number += 1
                self._check_left(stage)
        return stage

    def _read(self, links: Sequence[Link]) -> Stage:
        whole = Problems()
        sources = ((block, None) for block in self._blocks(whole))
        stage = self._rows("0-read", links, sources, None)
        whole.raise_errors()
        used = Counter[str]()
        for shard in stage.shards:
            used.update((shard.account() or {})["files"])
        if unused := [name for name in self._names if not used[name]]:
            examples = [each for found in self.account[READ].examples.values() for each in found]
            raise DataError(
                f"No row of {', '.join(unused)} can be used: {'; '.join(examples[:3])}.",
                "Look at every problem with outcrop data check.",
            )
        self._check_left(stage)
        return stage

    def _blocks(self, whole: Problems) -> Iterator[Block]:
        """The blocks of all files. What makes a file unusable goes to `whole`."""
        whole_bytes, taken = self.inputs.plain_bytes(), 0
        for block in blocks(self.inputs, Listing()):
            taken += block.size
            self._share = min(1.0, taken / whole_bytes) if whole_bytes else None
            rest = []
            for found in block.found:
                if found.code in WHOLE_FILE:
                    whole.add(found.code, Origin(found.file, found.line), found.message, found.field)
                else:
                    rest.append(found)
            yield replace(block, found=rest)

    def _rows(
        self,
        name: str,
        links: Sequence[Link],
        sources: Iterable[tuple[Block | Shard, Mask | None]],
        total: int | None,
    ) -> Stage:
        folder = self.stage_folder(name)
        steps = tuple(tasks.Applied.of(link) for link in links)
        made = (
            tasks.RowTask(folder, number, source, mask, steps, self.tools)
            for number, (source, mask) in enumerate(sources)
        )
        names = [link.name for link in links]
        title = ", ".join(["reading", *names] if total is None else names)
        accounts = self.shards(tasks.apply_steps, made, title, total)
        step_accounts = (
            {step: StepAccount.from_dict(values) for step, values in account["steps"].items()} for account in accounts
        )
        self.account.update(merge(step_accounts))
        shards = tuple(Shard(folder, number) for number in range(len(accounts)))
        self.dropped += [shard.path(tasks.DROPPED) for shard in shards]
        self.changed += [shard.path(tasks.CHANGES) for shard in shards]
        return Stage(shards, (None,) * len(shards), tuple(account["rows"] for account in accounts))

    def _set(self, name: str, link: Link, stage: Stage) -> Stage:
        step = link.build(self.tools)
        assert isinstance(step, SetStep), "stages are grouped by kind"
        folder = self.stage_folder(name)
        measure = step.measure(list(islice(stage.records(), SAMPLE_ROWS)))
        made = (
            tasks.MeasureTask(folder, number, source, mask, measure, self._names)
            for number, (source, mask) in enumerate(stage.sources())
        )
        accounts = self.shards(tasks.write_columns, made, f"{link.name}: measuring", stage.rows)
        places = (Shard(folder, number).path(COLUMNS) for number in range(len(accounts)))
        pieces = [Stored(place, each["arrays"]) for place, each in zip(places, accounts, strict=True)]
        title = f"{link.name}: deciding on {stage.rows:,} rows"
        columns = Columns(pieces, self._names, stage.parts, Following(self.listener, title))
        decision = step.decide(columns)
        self._record(folder, link.name, decision, columns, stage.rows)
        left = stage.without(decision.verdict.rows)
        if decision.parts is not None:
            left = replace(left, parts=decision.parts, part_names=decision.part_names, certificate=decision.certificate)
        return left if decision.order is None else replace(left, order=decision.order)

    def _record(self, folder: Path, name: str, decision: Decision, columns: Columns, rows: int) -> None:
        """Account for a decision, and write down every row that it drops."""
        verdict = decision.verdict
        account = StepAccount(rows, rows - len(verdict.rows), notes=Counter(decision.notes))
        account.figures = dict(decision.figures)
        lines = []
        for row, code, like, detail in verdict.entries():
            origin, likeness = columns.origin(row), str(columns.origin(like)) if like >= 0 else ""
            account.drop(code, str(origin), f"{detail} {likeness}".strip())
            lines.append(tasks.dropped_line(origin, name, code, detail, likeness))
        self.account[name] = account
        shard = Shard(folder / "verdict", 0)
        shard.folder.mkdir(exist_ok=True)
        shard.write_lines(tasks.DROPPED, lines)
        self.dropped.append(shard.path(tasks.DROPPED))

    def shards(self, work: Any, made: Iterable[Any], title: str, total: int | None) -> list[dict[str, Any]]:
        """The accounts of all shards, in order; a whole one that is there already is not made again."""
        following = Following(self.listener, title)
        found: dict[int, dict[str, Any]] = {}

        def missing() -> Iterator[Any]:
            for task in made:
                account = Shard(task.folder, task.number).account()
                if account is None:
                    yield task
                else:
                    found[task.number] = account

        for number, account in self.pool.map(work, missing()):
            found[number] = account
            rows = account.get("rows", 0)
            following.rows(rows, sum(each.get("rows", 0) for each in found.values()), total, self._share)
        return [found[number] for number in sorted(found)]

    def stage_folder(self, name: str) -> Path:
        """The folder of a stage, made if absent."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def _check_left(self, stage: Stage) -> None:
        if stage.rows:
            return
        said = "; ".join(
            f"{name}: {', '.join(f'{count:,} {code}' for code, count in step.dropped.most_common(3))}"
            for name, step in self.account.items()
            if step.dropped
        )
        raise DataError(f"No rows are left ({said or 'the files hold none'}).", "Loosen the steps, or check the data.")
