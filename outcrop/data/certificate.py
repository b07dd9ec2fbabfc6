"""The certificate of a split: what was drawn, by which rules, the proof that nothing crosses; checked when used."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError, UsageError
from outcrop.core.files import digest
from outcrop.data.assignment import LEFT_OUT, PARTS, Codes, PartCodes
from outcrop.data.formats.catalog import SHAPES
from outcrop.data.neighbours import THRESHOLD
from outcrop.data.records import Conversation, Pair, Record, Text, answer_text
from outcrop.data.shingles import LARGEST_MEAN

CERTIFICATE = "split.json"
VERSION = 2
NAMED_ROWS = 5
FORMAT_OF = {Pair: "prompt-completion", Conversation: "openai-chat", Text: "input"}
"""The format in which each kind of record is written; each holds its kind without loss."""

TOGETHER = (
    f"Prompts with a Jaccard similarity of character 5-grams of at least {THRESHOLD}, directly or through others, or "
    "equal after NFKC, case folding and white space, stay together; where prompts have more than "
    f"{LARGEST_MEAN:,} 5-grams on average, a share of them drawn by hash is compared."
)
BY_SEED = (
    "Stratified on the answer where answers are labels; every label keeps rows in training. Rows that stay together "
    "are drawn in the order of a hash of the seed and their prompts."
)
BY_TIME = (
    "Training comes before validation and validation before the test; rows of one time are not cut apart. Where rows "
    "that stay together reach over a cut, those of the earlier part are left out."
)


@dataclass(frozen=True)
class Bonds:
    """What keeps rows together, per row: the code of its group, of its near-duplicates, of both; and its time."""

    groups: Codes | None
    clusters: Codes
    components: Codes
    times: NDArray[np.float64] | None


@dataclass(frozen=True)
class Drawn:
    """All rows with their part, an index into PARTS or LEFT_OUT, and the labels where answers are labels."""

    records: Sequence[Record]
    part: PartCodes
    bonds: Bonds
    labels: Sequence[str] | None


def certify(drawn: Drawn, parts: Mapping[str, Sequence[Record]], spec: Mapping[str, Any]) -> dict[str, Any]:
    """The certificate of a split whose parts the exact join found free of crossing pairs.

    Groups and times are counted here again, from the rows as they were placed.
    """
    bonds, left_out = drawn.bonds, np.flatnonzero(drawn.part == LEFT_OUT)
    field = f"Rows with an equal field {spec['group_by']!r} stay together. " if spec["group_by"] else ""
    balance = {name: Counter(answer_text(record).strip() for record in part) for name, part in parts.items()}
    return {
        "version": VERSION,
        "seed": spec["seed"],
        "rule": f"{field}{TOGETHER} {BY_SEED if bonds.times is None else BY_TIME}",
        "shares": {"test": spec["test"], "validation": spec["validation"]},
        "group_by": spec["group_by"],
        "time_by": spec["time_by"],
        "counts": {name: len(part) for name, part in parts.items()},
        "left_out": {
            "rows": len(left_out), "first": [str(drawn.records[row].origin) for row in left_out[:NAMED_ROWS]],
        },
        "digests": {name: _digest(part) for name, part in parts.items()},
        "sealed": "test",
        "labels": {label: {name: balance[name][label] for name in balance} for label in drawn.labels}
        if drawn.labels
        else None,
        "clusters": _sizes(bonds.clusters, drawn.records),
        "groups": None if bonds.groups is None else _sizes(bonds.groups, drawn.records),
        "together": _sizes(bonds.components, drawn.records),
        "times": None if bonds.times is None else _times(bonds.times, drawn.part),
        "proof": {
            "method": "exact prefix-filter join over all pairs of rows in different parts, after the split",
            "threshold": THRESHOLD,
            "pairs_across_parts": 0,
            "groups_across_parts": 0 if bonds.groups is None else _crossing(bonds.groups, drawn.part),
        },
        "fields_left_out": sorted({str(name) for record in drawn.records for name in record.fields}),
    }  # fmt: skip


def open_split(folder: Path) -> dict[str, Path]:
    """The files of a written split by part, verified against its certificate.

    Raises UsageError where there is no certificate, and DataError if a file is missing or not what was sealed.
    """
    certificate = folder / CERTIFICATE
    if not certificate.is_file():
        raise UsageError(f"{folder} holds no {CERTIFICATE}.", "Make one with outcrop data split.")
    try:
        sealed = dict(json.loads(certificate.read_text("utf-8"))["digests"])
        paths = {name: folder / f"{name}.jsonl" for name in PARTS if name in sealed}
        paths["train"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{certificate} is not a certificate of a split.", "Restore it, or split again into a new folder."
        ) from error
    changed = [path.name for name, path in paths.items() if not path.is_file() or digest(path) != sealed[name]]
    if changed:
        raise DataError(
            f"{' and '.join(changed)} in {folder} is not the file that was split.",
            "Restore it, or split again into a new folder; scores on the old test set do not carry over.",
        )
    return paths


def lines(part: Sequence[Record]) -> list[str]:
    """The records as lines of JSON, in the format of their kind."""
    return [
        json.dumps(SHAPES.load(FORMAT_OF[type(record)]).write(record), ensure_ascii=False) + "\n" for record in part
    ]


def _digest(part: Sequence[Record]) -> str:
    hasher = hashlib.sha256()
    for line in lines(part):
        hasher.update(line.encode())
    return f"sha256:{hasher.hexdigest()}"


def _sizes(codes: Codes, records: Sequence[Record]) -> dict[str, Any]:
    """How many there are, how many rows have company, and the largest."""
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    largest = int(counts.argmax())
    return {
        "count": len(counts),
        "rows_with_neighbours": int(counts[counts > 1].sum()),
        "largest": {"rows": int(counts[largest]), "first": str(records[first[largest]].origin)},
    }


def _crossing(groups: Codes, part: PartCodes) -> int:
    """Groups with rows in more than one part."""
    placed = part != LEFT_OUT
    pairs = np.unique(np.stack([groups[placed], part[placed].astype(np.int64)]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def _times(times: NDArray[np.float64], part: PartCodes) -> dict[str, list[str]]:
    """The first and the last time of each part."""
    found = {}
    for code, name in enumerate(PARTS):
        inside = times[part == code]
        if len(inside):
            found[name] = [datetime.fromtimestamp(float(end), UTC).isoformat() for end in (inside.min(), inside.max())]
    return found
