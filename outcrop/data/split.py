"""Train, validation and test rows such that no almost equal prompts stand on two sides, with a certificate of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from outcrop.core.files import check_target, staged_folder, write_atomic, write_json
from outcrop.data.assignment import LEFT_OUT, PARTS
from outcrop.data.certificate import CERTIFICATE, certify, digest_of, line_of, sealed
from outcrop.data.crossing import PIECE_ROWS
from outcrop.data.draw import SplitSpec, draw
from outcrop.data.mapping import Mapping
from outcrop.data.records import Record, prompt_text
from outcrop.data.split_columns import MeasureSplit
from outcrop.data.steps.columns import Columns, Held, places

FITTED_ROWS = 10_000
"""Rows on which the frame of all prompts is looked for."""


@dataclass(frozen=True)
class Split:
    """The three parts, each in the order of the data, the rows that stand in none, and the certificate."""

    train: list[Record]
    validation: list[Record]
    test: list[Record]
    left_out: list[Record]
    certificate: dict[str, Any]

    def parts(self) -> dict[str, list[Record]]:
        """The parts that have rows, by name."""
        named = zip(PARTS, (self.train, self.validation, self.test), strict=True)
        return {name: records for name, records in named if records}


def split(records: Sequence[Record], spec: SplitSpec | None = None) -> Split:
    """Split by near-duplicate-free groups; a pure function of the spec and the set of records, not of their order.

    Shares are reached to within one component of rows that stay together. Raises UsageError for shares that leave
    nothing to train on, and DataError where there are too few components for the parts, records of several kinds, or
    rows without the field of groups or times.
    """
    spec = spec or SplitSpec()
    measure = MeasureSplit.fit(_sample(records), spec.group_by, spec.time_by)
    names = sorted({record.origin.file for record in records})
    pieces = []
    for start in range(0, max(1, len(records)), PIECE_ROWS):
        piece = records[start : start + PIECE_ROWS]
        pieces.append(Held({**measure(piece), **places(piece, names)}))
    drawn = draw(Columns(pieces, names), spec)
    train, validation, test, left_out = (
        [records[row] for row in np.flatnonzero(drawn.part == code).tolist()] for code in (*range(len(PARTS)), LEFT_OUT)
    )
    digests = {name: digest_of(part) for name, part in zip(PARTS, (train, validation, test), strict=True) if part}
    fields = {str(name) for record in records for name in record.fields}
    return Split(train, validation, test, left_out, sealed(certify(drawn, spec), digests, fields))


def _sample(records: Sequence[Record]) -> Sequence[Record]:
    """About FITTED_ROWS of the records, or all of fewer; chosen by their prompts, so that their order has no part."""
    one_in = len(records) // FITTED_ROWS
    if one_in < 2:
        return records
    return [
        record for record in records if not crc32(prompt_text(record).encode("utf-8", "surrogatepass")) % one_in
    ] or records


def write_split(drawn: Split, folder: Path, mapping: Mapping | None = None, *, overwrite: bool = False) -> None:
    """Write train.jsonl, validation.jsonl, test.jsonl and the certificate split.json; all of them or nothing.

    Pairs are written as Bedrock's prompt/completion, conversations as messages, texts as {"input": …}; other columns
    are left out and named in the certificate, and so is the mapping that made the records. Raises UsageError if the
    folder holds something.
    """
    check_target(folder, overwrite=overwrite)
    with staged_folder(folder) as scratch:
        for name, part in drawn.parts().items():
            write_atomic(scratch / f"{name}.jsonl", "".join(map(line_of, part)))
        made = {"mapping": mapping.model_dump()} if mapping else {}
        write_json(scratch / CERTIFICATE, drawn.certificate | made)
