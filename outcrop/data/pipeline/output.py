"""The files of a finished preparation: the parts, what was dropped and changed, the recipe, and the account."""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError
from outcrop.core.files import write_atomic, write_json
from outcrop.data.certificate import CERTIFICATE, sealed
from outcrop.data.mapping import Mapping as ColumnMapping
from outcrop.data.pipeline import tasks
from outcrop.data.pipeline.runner import Run, Stage
from outcrop.data.pipeline.shards import Shard
from outcrop.data.synthetic import FIELD

ROWS_FILE, DROPPED_FILE, CHANGES_FILE, ACCOUNT_FILE = "rows.jsonl", "dropped.jsonl", "changes.jsonl", "preparation.json"
RECIPE_FILE = "prepare.toml"


class Written(NamedTuple):
    """What was written: rows and digest by part; fields: columns of the rows that no part's file holds."""

    counts: Mapping[str, int]
    digests: Mapping[str, str]
    kinds: Mapping[str, int]
    fields: tuple[str, ...]


def write(run: Run, stage: Stage, folder: Path, mapping: ColumnMapping | None = None) -> Written:
    """Write the result of a run into `folder`: one file per part, or rows.jsonl where there are no parts.

    Raises DataError where the rows are of several kinds, which no format holds together.
    """
    names = stage.part_names or ("rows",)
    accounts, target = _written_shards(run, stage, names)
    kinds = sum((Counter(account["kinds"]) for account in accounts), Counter[str]())
    if len(kinds) > 1:
        said = " and ".join(f"{count:,} {kind}s" for kind, count in sorted(kinds.items()))
        raise DataError(f"The rows are {said}; one file holds one kind.", "Prepare them apart, or give them a --map.")
    shards = [Shard(target, number) for number in range(len(accounts))]
    counts = {name: sum(account["counts"][name] for account in accounts) for name in names}
    digests = {
        name: join((shard.path(name) for shard in shards), folder / f"{name}.jsonl") for name in names if counts[name]
    }
    if stage.order is not None:
        digests[names[0]] = _put_in_order(folder / f"{names[0]}.jsonl", stage)
        counts[names[0]] = len(stage.order)
    join(run.dropped, folder / DROPPED_FILE)
    join(run.changed, folder / CHANGES_FILE)
    write_atomic(folder / RECIPE_FILE, run.chain.recipe())
    fields = tuple(sorted({name for account in accounts for name in account["fields"]} - {FIELD}))
    if stage.certificate is not None:
        made = {"mapping": mapping.model_dump()} if mapping else {}
        mixed = {"mixed": {"train": counts["train"]}} if stage.order is not None else {}
        write_json(folder / CERTIFICATE, sealed(stage.certificate, digests, fields) | mixed | made)
    return Written({name: counts[name] for name in digests}, digests, kinds, fields)


def _written_shards(run: Run, stage: Stage, names: tuple[str, ...]) -> tuple[list[dict[str, Any]], Path]:
    """The lines of every shard by part, and the folder that they are in."""
    parts = np.zeros(stage.rows, dtype=np.int8) if stage.parts is None else stage.parts
    target = run.stage_folder("result")
    pieces = np.split(parts, np.cumsum(stage.counts)[:-1])
    made = (
        tasks.WriteTask(target, number, source, mask, piece, names)
        for number, ((source, mask), piece) in enumerate(zip(stage.sources(), pieces, strict=True))
    )
    return run.shards(tasks.write_parts, made, "writing", stage.rows), target


def _put_in_order(path: Path, stage: Stage) -> str:
    """Write the lines of the first part anew, in the order of the mix; returns the digest of the file."""
    assert stage.order is not None, "called for a mix"
    rows = np.arange(stage.rows) if stage.parts is None else np.flatnonzero(stage.parts == 0)
    lines = np.searchsorted(rows, stage.order)
    ordered = path.with_suffix(".ordered")
    with path.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        ends = _line_ends(whole)
        starts = np.concatenate([[0], ends[:-1]])
        hasher = hashlib.sha256()
        with ordered.open("wb") as target:
            out = _Hashed(target, hasher)
            for line in lines.tolist():
                out.write(whole[starts[line] : ends[line]])
            target.flush()
            os.fsync(target.fileno())
    ordered.replace(path)
    return f"sha256:{hasher.hexdigest()}"


def _line_ends(whole: mmap.mmap) -> NDArray[np.int64]:
    """Where each line ends, its end of line included."""
    found, step = [], 1 << 24
    for start in range(0, len(whole), step):
        piece = np.frombuffer(whole[start : start + step], dtype=np.uint8)
        found.append(np.flatnonzero(piece == ord("\n")) + start + 1)
    return np.concatenate(found)


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
