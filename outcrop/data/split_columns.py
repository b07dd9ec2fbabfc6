"""What a split needs to know of each row, as columns: keys, labels, groups, times, marks, and shingles to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.data.crossing import sets_of
from outcrop.data.join_filters import Halves, Sets
from outcrop.data.labels import may_be_label
from outcrop.data.minhash import band_keys, bytes_of, signatures
from outcrop.data.neighbours import Prints
from outcrop.data.records import Conversation, Origin, Pair, Record, Text, answer_text, prompt_text
from outcrop.data.shingles import Shingler, normalise
from outcrop.data.steps.columns import Arrays, Columns
from outcrop.data.synthetic import key_of_normalised, marked, source_of

KINDS: tuple[type[Record], ...] = (Conversation, Pair, Text)
ODD = 0x9E3779B97F4A7C15
"""Spreads line numbers over 64 bits, each to a place of its own."""

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class MeasureSplit:
    """Makes the columns of rows. group_by, time_by: fields that every row that is not synthetic has to have."""

    shingler: Shingler
    group_by: str | None
    time_by: str | None

    @classmethod
    def fit(cls, sample: Sequence[Record], group_by: str | None, time_by: str | None) -> MeasureSplit:
        """For rows like the sample."""
        return cls(Shingler.fit(normalise(prompt_text(record)) for record in sample), group_by, time_by)

    def __call__(self, records: Sequence[Record]) -> Arrays:
        """The columns, named as `Measured` reads them."""
        normalised = [normalise(prompt_text(record)) for record in records]
        flat = self.shingler.flat(normalised)
        sets, matrix = sets_of(flat), signatures(flat.hashes, flat.offsets)
        labels = _labels(records)
        groups = _fields(records, self.group_by, lambda value: _hash(str(value)))
        times = _fields(records, self.time_by, _seconds)
        sources = [source_of(record) if marked(record) else (None, None) for record in records]
        return {
            "key": np.array([key_of_normalised(text) for text in normalised], dtype=np.uint64),
            "kind": np.array([KINDS.index(type(record)) for record in records], dtype=np.int8),
            "label": _hashes(labels),
            "group": np.array([value or 0 for value in groups.values], dtype=np.uint64),
            "time": np.array([value or 0 for value in times.values], dtype=np.float64),
            "place": np.array([_place(record.origin) for record in records], dtype=np.uint64),
            "synthetic": np.array([marked(record) for record in records], dtype=bool),
            "source.place": np.array([_place(place) if place else 0 for place, _ in sources], dtype=np.uint64),
            "source.key": np.array([key or 0 for _, key in sources], dtype=np.uint64),
            "shingles": sets.hashes,
            "shingles.offsets": sets.offsets,
            "bands": band_keys(matrix),
            "signature": bytes_of(matrix),
            **_ragged("label.text", labels),
            **_ragged("group.problem", groups.problems),
            **_ragged("time.problem", times.problems),
        }


class Measured:
    """The columns of all rows, and as a source the sets of their shingles."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self.tell = columns.tell
        self.keys: Hashes = columns.joined("key")
        self.synthetic: NDArray[np.bool_] = columns.joined("synthetic")

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A column with one entry per row."""
        return self._columns.joined(name)

    def text(self, name: str, row: int) -> str:
        """The entry of a column of texts."""
        return self._columns.entries(name, row).tobytes().decode()

    def texts(self, name: str) -> Iterator[tuple[int, str]]:
        """The rows that have a text in a column, with it."""
        start = 0
        for offsets in self._columns.each(f"{name}.offsets"):
            for place in np.flatnonzero(np.diff(offsets)).tolist():
                yield start + place, self.text(name, start + place)
            start += len(offsets) - 1

    def origin(self, row: int) -> Origin:
        """Where a row stands."""
        return self._columns.origin(row)

    def prints(self) -> Prints:
        """What near-duplicates are found by."""
        return Prints(self.keys, self["bands"], self["signature"])

    def pieces(self) -> Iterator[Sets]:
        """The sets of shingles of all rows, in order."""
        both = zip(self._columns.each("shingles"), self._columns.each("shingles.offsets"), strict=True)
        return (Sets(hashes, offsets) for hashes, offsets in both)

    def sizes(self) -> NDArray[np.int64]:
        """The size of each set."""
        return np.concatenate([np.diff(offsets) for offsets in self._columns.each("shingles.offsets")])

    def of(self, row: int) -> Halves:
        """The set of one row."""
        return self._columns.entries("shingles", row)


def label_hashes(records: Sequence[Record]) -> Hashes:
    """A hash of each answer that may be a label, 0 for the others."""
    return _hashes(_labels(records))


def _hashes(labels: Sequence[str]) -> Hashes:
    known = {label: _hash(label) for label in set(labels) if label} | {"": 0}
    return np.array([known[label] for label in labels], dtype=np.uint64)


def _labels(records: Sequence[Record]) -> list[str]:
    answers = [answer_text(record).strip() for record in records]
    return [answer if may_be_label(record, answer) else "" for record, answer in zip(records, answers, strict=True)]


class _Fields(NamedTuple):
    values: list[Any]
    problems: list[str]


def _fields(records: Sequence[Record], name: str | None, parse: Callable[[Any], Any]) -> _Fields:
    """A field of every record, and where it cannot be had why; synthetic rows need none."""
    values, problems = [], []
    for record in records:
        value, problem = None, ""
        try:
            if name is not None and record.fields.get(name) is not None:
                value = parse(record.fields[name])
            elif name is not None and not marked(record):
                problem = f"missing; the row has: {', '.join(sorted(map(str, record.fields))) or 'no other columns'}"
        except (ValueError, TypeError, OverflowError) as error:
            problem = str(error)
        values.append(value)
        problems.append(problem)
    return _Fields(values, problems)


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


def _place(origin: Origin) -> int:
    """A hash of where a row stands, 0 for nowhere."""
    return (_file_hash(origin.file) + origin.line * ODD) % (1 << 64) or 1 if origin.line else 0


@lru_cache(maxsize=64)
def _file_hash(name: str) -> int:
    return _hash(name)


def _hash(text: str) -> int:
    """A hash of 64 bits that is never 0."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


def _ragged(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in encoded])]).astype(np.int64)
    return {name: np.frombuffer(b"".join(encoded), dtype=np.uint8), f"{name}.offsets": offsets}
