"""The files of a finished preparation: the parts, what was dropped and changed, the recipe, and the account."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from outcrop.core.files import write_atomic, write_json
from outcrop.data.pipeline import tasks
from outcrop.data.pipeline.runner import Run, Stage
from outcrop.data.pipeline.shards import Shard

ROWS_FILE, DROPPED_FILE, CHANGES_FILE, ACCOUNT_FILE = "rows.jsonl", "dropped.jsonl", "changes.jsonl", "preparation.json"
RECIPE_FILE = "prepare.toml"


class Written(NamedTuple):
    """What was written: rows and digest by part; fields: columns of the rows that no part's file holds."""

    counts: Mapping[str, int]
    digests: Mapping[str, str]
    kinds: Mapping[str, int]
    fields: tuple[str, ...]


def write(run: Run, stage: Stage, folder: Path) -> Written:
    """Write the result of a run into `folder`: one file per part, or rows.jsonl where there are no parts."""
    names = stage.part_names or ("rows",)
    parts = np.zeros(stage.rows, dtype=np.int8) if stage.parts is None else stage.parts
    target = run.stage_folder("result")
    pieces = np.split(parts, np.cumsum(stage.counts)[:-1])
    made = (
        tasks.WriteTask(target, number, source, mask, piece, names)
        for number, ((source, mask), piece) in enumerate(zip(stage.sources(), pieces, strict=True))
    )
    accounts = run.shards(tasks.write_parts, made, "writing", stage.rows)
    shards = [Shard(target, number) for number in range(len(accounts))]
    counts = {name: sum(account["counts"][name] for account in accounts) for name in names}
    digests = {
        name: join((shard.path(name) for shard in shards), folder / f"{name}.jsonl") for name in names if counts[name]
    }
    join(run.dropped, folder / DROPPED_FILE)
    join(run.changed, folder / CHANGES_FILE)
    write_atomic(folder / RECIPE_FILE, run.chain.recipe())
    kinds = sum((Counter(account["kinds"]) for account in accounts), Counter[str]())
    fields = tuple(sorted({name for account in accounts for name in account["fields"]}))
    return Written({name: counts[name] for name in digests}, digests, kinds, fields)


def write_account(run: Run, written: Written, folder: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    """Write preparation.json and return it."""
    account = {
        "version": 1,
        **more,
        "steps": {name: step.as_dict() for name, step in run.account.items()},
        "counts": dict(written.counts),
        "digests": dict(written.digests),
        "kinds": dict(written.kinds),
        "fields_left_out": list(written.fields),
        "parameters": run.chain.as_dict(),
        "sources": {link.name: dict(link.sources) for link in run.chain.links},
    }
    write_json(folder / ACCOUNT_FILE, account)
    return account


def join(pieces: Iterable[Path], target: Path) -> str:
    """One file of many, in order; returns its digest ("sha256:…")."""
    hasher = hashlib.sha256()
    with target.open("wb") as whole:
        for piece in pieces:
            with piece.open("rb") as file:
                shutil.copyfileobj(file, _Hashed(whole, hasher), 1 << 20)
        whole.flush()
        os.fsync(whole.fileno())
    return f"sha256:{hasher.hexdigest()}"


class _Hashed:
    def __init__(self, file: Any, hasher: Any) -> None:
        self._file, self._hasher = file, hasher

    def write(self, data: bytes) -> int:
        self._hasher.update(data)
        return int(self._file.write(data))
