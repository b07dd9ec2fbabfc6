"""Train, validation and test rows such that no almost equal prompts stand on two sides, with a certificate of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError
from outcrop.core.files import check_target, staged_folder, write_atomic, write_json
from outcrop.core.spec import Spec, parameter
from outcrop.data.assignment import LEFT_OUT, PARTS, Codes, PartCodes, Shares, assign, assign_by_time, components
from outcrop.data.certificate import CERTIFICATE, Bonds, Drawn, certify, lines
from outcrop.data.crossing import crossing_pairs
from outcrop.data.labels import label_set
from outcrop.data.mapping import Mapping
from outcrop.data.neighbours import clusters
from outcrop.data.records import Record, answer_text, prompt_text
from outcrop.data.shingles import normalise

T = TypeVar("T")
NAMED_ROWS = 5
"""How many rows an error names."""


class SplitSpec(Spec):
    """How rows are shared out."""

    seed: int = parameter(0, "of the draw", ge=0)
    validation: float = parameter(0.1, "share of the rows for validation", ge=0, lt=1)
    test: float = parameter(0.1, "share of the rows for the sealed test set", ge=0, lt=1)
    stratify: bool = parameter(True, "give every label its share in each part")
    group_by: str | None = parameter(None, "field whose equal values stay in one part: customer, document, template")
    time_by: str | None = parameter(None, "field of times: training before validation before test")

    @property
    def shares(self) -> Shares:
        """The shares of validation and test."""
        return Shares(self.validation, self.test)


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
    spec.shares.check()
    kinds = sorted({type(record).__name__ for record in records})
    if len(kinds) != 1:
        raise DataError(f"Cannot split {' and '.join(kinds) or 'no records'}.", "Give records of one kind.")
    texts = [prompt_text(record) for record in records]
    labels = label_set(records) if spec.stratify else None
    strata = _codes([answer_text(record).strip() for record in records] if labels else [""] * len(records))
    groups = _codes(_values(records, spec.group_by, str)) if spec.group_by else np.arange(len(records), dtype=np.int64)
    times = np.array(_values(records, spec.time_by, _seconds)) if spec.time_by else None
    near = clusters(texts)
    part = _assigned(spec, strata, groups, near, times, keys := _keys(texts))
    while crossing := _crossing(texts, part):
        # MinHash missed these pairs and the exact join found them: their clusters become one.
        for left, right in crossing:
            near[near == near[right]] = near[left]
        part = _assigned(spec, strata, groups, near, times, keys)
    train, validation, test, left_out = (
        [records[row] for row in np.flatnonzero(part == code).tolist()] for code in (*range(len(PARTS)), LEFT_OUT)
    )
    drawn = Split(train, validation, test, left_out, certificate={})
    bonds = Bonds(groups if spec.group_by else None, near, components(groups, near), times)
    return replace(drawn, certificate=certify(Drawn(records, part, bonds, labels), drawn.parts(), spec.model_dump()))


def write_split(drawn: Split, folder: Path, mapping: Mapping | None = None, *, overwrite: bool = False) -> None:
    """Write train.jsonl, validation.jsonl, test.jsonl and the certificate split.json; all of them or nothing.

    Pairs are written as Bedrock's prompt/completion, conversations as messages, texts as {"input": …}; other columns
    are left out and named in the certificate, and so is the mapping that made the records. Raises UsageError if the
    folder holds something.
    """
    check_target(folder, overwrite=overwrite)
    with staged_folder(folder) as scratch:
        for name, part in drawn.parts().items():
            write_atomic(scratch / f"{name}.jsonl", "".join(lines(part)))
        made = {"mapping": mapping.model_dump()} if mapping else {}
        write_json(scratch / CERTIFICATE, drawn.certificate | made)


def _assigned(
    spec: SplitSpec, strata: Codes, groups: Codes, near: Codes, times: NDArray[np.float64] | None,
    keys: NDArray[np.uint64],
) -> PartCodes:  # fmt: skip
    if times is not None:
        return assign_by_time(times, groups, near, spec.shares)
    return assign(strata, groups, near, spec.shares, spec.seed, keys)


def _crossing(texts: Sequence[str], part: PartCodes) -> list[tuple[int, int]]:
    """The pairs of rows in different parts that are equal or almost equal."""
    rows = np.flatnonzero(part != LEFT_OUT).tolist()
    pairs = crossing_pairs([texts[row] for row in rows], [PARTS[part[row]] for row in rows])
    return [(rows[left], rows[right]) for left, right in pairs]


def _codes(values: Sequence[str]) -> Codes:
    """A number for each value, in the order of the values, so that it does not depend on the order of rows."""
    number = {value: index for index, value in enumerate(sorted(set(values)))}
    return np.array([number[value] for value in values], dtype=np.int64)


def _keys(texts: Sequence[str]) -> NDArray[np.uint64]:
    """A hash of each normalised prompt, the seeded order's ground."""
    digests = (blake2b(normalise(text).encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


def _values(records: Sequence[Record], name: str, parse: Callable[[Any], T]) -> list[T]:
    """A field of every record. Raises DataError naming the first rows that lack it or cannot be parsed."""
    found, wrong = [], []
    for record in records:
        value = record.fields.get(name)
        try:
            if value is None:
                raise ValueError("missing")
            found.append(parse(value))
        except (ValueError, TypeError, OverflowError) as error:
            wrong.append(f"{record.origin}: {name}: {error}")
    if wrong:
        known = sorted({str(key) for record in records for key in record.fields})
        named = wrong[:NAMED_ROWS] + ([f"… and {len(wrong) - NAMED_ROWS:,} more"] if len(wrong) > NAMED_ROWS else [])
        raise DataError(
            f"{len(wrong):,} of {len(records):,} rows cannot be placed by {name}:\n" + "\n".join(named),
            f"Every row needs it. Fields of these rows: {', '.join(known) or 'none'}.",
        )
    return found


def _seconds(value: Any) -> float:
    """Seconds since 1970 of a number or an ISO 8601 time; one without a zone is UTC."""
    if isinstance(value, bool):
        raise ValueError("not a time: give ISO 8601, or seconds since 1970")
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, datetime):
        moment = value
    else:
        text = str(value).strip()
        try:
            return float(text)
        except ValueError:
            moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
