"""The certificate of a split: what was drawn, by which rules, the proof that nothing crosses; checked when used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError, UsageError
from outcrop.core.files import digest
from outcrop.data.assignment import LEFT_OUT, PARTS, Codes, PartCodes
from outcrop.data.draw import Draw, Labels, SplitSpec
from outcrop.data.formats.catalog import SHAPES
from outcrop.data.neighbours import THRESHOLD
from outcrop.data.records import Conversation, Pair, Record, Text
from outcrop.data.shingles import LARGEST_MEAN
from outcrop.data.split_columns import Measured
from outcrop.data.synthetic import FIELD, marked

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
SYNTHETIC = "Synthetic rows are in training only; those made from a row of another part, or alike to one, are left out."


def certify(drawn: Draw, spec: SplitSpec) -> dict[str, Any]:
    """The certificate of a split that the exact join found free of crossing pairs, but for the digests of its files.

    Groups and times are counted here again, from the rows as they were placed.
    """
    bonds, rows = drawn.bonds, drawn.measured
    left_out = np.flatnonzero(drawn.part == LEFT_OUT)
    field = f"Rows with an equal field {spec.group_by!r} stay together. " if spec.group_by else ""
    counts = {name: int((drawn.part == code).sum()) for code, name in enumerate(PARTS)}
    named = {name: count for name, count in counts.items() if count}
    return {
        "version": VERSION,
        "seed": spec.seed,
        "rule": f"{field}{TOGETHER} {BY_SEED if bonds.times is None else BY_TIME} {SYNTHETIC}",
        "shares": {"test": spec.test, "validation": spec.validation},
        "group_by": spec.group_by,
        "time_by": spec.time_by,
        "counts": named,
        "left_out": {"rows": len(left_out), "first": [str(rows.origin(row)) for row in left_out[:NAMED_ROWS].tolist()]},
        "digests": {},
        "sealed": "test",
        "labels": None if drawn.labels is None else _balance(drawn.labels, drawn.part, list(named)),
        "clusters": _sizes(bonds.clusters, rows),
        "groups": None if bonds.groups is None else _sizes(bonds.groups, rows),
        "together": _sizes(bonds.components, rows),
        "times": None if bonds.times is None else _times(bonds.times, drawn.part, ~rows.synthetic),
        "synthetic": _synthetic(drawn),
        "proof": {
            "method": "exact set-similarity join over all pairs of rows in different parts, after the split",
            "threshold": THRESHOLD,
            "pairs_across_parts": 0,
            "groups_across_parts": 0 if bonds.groups is None else _crossing(bonds.groups, drawn.part),
        },
        "fields_left_out": [],
    }


def sealed(certificate: Mapping[str, Any], digests: Mapping[str, str], fields: Iterable[str]) -> dict[str, Any]:
    """The certificate with the digests of the written files by part, and the columns that none of them holds."""
    return {**certificate, "digests": dict(digests), "fields_left_out": sorted(set(fields) - {FIELD})}


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


_dumps = json.JSONEncoder(ensure_ascii=False, default=str).encode


def line_of(record: Record) -> str:
    """A record as a line of JSON in the format of its kind; a synthetic one with its mark."""
    row = SHAPES.load(FORMAT_OF[type(record)]).write(record)
    if marked(record):
        row[FIELD] = record.fields[FIELD]
    return _dumps(row) + "\n"


def digest_of(part: Iterable[Record]) -> str:
    """The digest of a part's file."""
    hasher = hashlib.sha256()
    for record in part:
        hasher.update(line_of(record).encode())
    return f"sha256:{hasher.hexdigest()}"


def _balance(labels: Labels, part: PartCodes, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Rows of each label in each part."""
    width = len(PARTS) + 1
    counts = np.bincount(labels.codes * width + part + 1, minlength=len(labels.names) * width).reshape(-1, width)
    return {
        label: {name: int(counts[number, PARTS.index(name) + 1]) for name in names}
        for number, label in enumerate(labels.names)
    }


def _synthetic(drawn: Draw) -> dict[str, int] | None:
    """Where synthetic rows went; None where there are none."""
    part = drawn.part[drawn.measured.synthetic]
    if not len(part):
        return None
    placed = {name: int((part == code).sum()) for code, name in enumerate(PARTS)}
    return {
        "rows": len(part),
        **placed,
        "left_out": int((part == LEFT_OUT).sum()),
        "without_source": drawn.sourceless(),
    }


def _sizes(codes: Codes, rows: Measured) -> dict[str, Any]:
    """How many there are, how many rows have company, and the largest."""
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    largest = int(counts.argmax())
    return {
        "count": len(counts),
        "rows_with_neighbours": int(counts[counts > 1].sum()),
        "largest": {"rows": int(counts[largest]), "first": str(rows.origin(int(first[largest])))},
    }


def _crossing(groups: Codes, part: PartCodes) -> int:
    """Groups with rows in more than one part."""
    placed = part != LEFT_OUT
    pairs = np.unique(np.stack([groups[placed], part[placed].astype(np.int64)]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def _times(times: NDArray[np.float64], part: PartCodes, real: NDArray[np.bool_]) -> dict[str, list[str]]:
    """The first and the last time of each part's rows that are not synthetic."""
    found = {}
    for code, name in enumerate(PARTS):
        inside = times[(part == code) & real]
        if len(inside):
            found[name] = [datetime.fromtimestamp(float(end), UTC).isoformat() for end in (inside.min(), inside.max())]
    return found
