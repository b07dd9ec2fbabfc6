"""Rows that are almost the same: columns made shard by shard, candidates from bands, the true similarity decides."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError
from outcrop.data.minhash import SLACK, band_keys, bytes_of, signatures
from outcrop.data.records import Record, answer_text, prompt_text
from outcrop.data.shingles import Shingler, normalise
from outcrop.data.steps.columns import Arrays, Columns
from outcrop.data.words import bags, share_to_keep, similarity

On = Literal["both", "prompt", "completion"]
ANSWER_SALT = np.uint64(0x6A09E667F3BCC909)
"""Keeps the words of an answer apart from the same words in a prompt where both are compared at once."""

CROWD = 256
"""In a bucket of more kept rows than this, a row is compared with the latest ones only."""

TOLD_ROWS = 10_000
"""Progress is told once in so many rows."""

Keys = NDArray[np.uint64]
Rows = NDArray[np.int64]


def compared(record: Record, on: On) -> list[str]:
    """The texts of a record that are compared: prompt, answer or both; unlabelled text is a prompt without answer."""
    chosen = {"both": (prompt_text, answer_text), "prompt": (prompt_text,), "completion": (answer_text,)}[on]
    return [text(record) for text in chosen]


def key_of(texts: Sequence[str]) -> int:
    """A digest of texts that is equal where they are the same after NFKC, case folding and white space."""
    return _key_of_normalised([normalise(text) for text in texts])


def _key_of_normalised(texts: Sequence[str]) -> int:
    joined = "\0".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(joined, digest_size=8).digest(), "big")


class Frame(NamedTuple):
    """What nearly all texts begin and end with (an instruction, a cue): left out, or short rows would look alike."""

    prefix: str = ""
    suffix: str = ""

    @classmethod
    def fit(cls, texts: Sequence[str]) -> Frame:
        """The frame of a sample."""
        found = Shingler.fit(normalise(text) for text in texts)
        return cls(found.prefix, found.suffix)

    def body(self, text: str) -> str:
        """The normalised text without the frame; the whole where nothing else is in it."""
        return self.cut(normalise(text))

    def cut(self, normalised: str) -> str:
        """The same of a text that is normalised already."""
        return normalised.removeprefix(self.prefix).removesuffix(self.suffix) or normalised


@dataclass(frozen=True)
class MeasureAlike:
    """Makes the columns by which rows are compared. keep_one_in: the share of the words; 0 compares exactly only."""

    on: On
    frames: tuple[Frame, ...]
    keep_one_in: int

    @classmethod
    def fit(cls, on: On, sample: Sequence[Record], *, near: bool) -> MeasureAlike:
        """For rows like the sample. Raises DataError where it is empty."""
        if not sample:
            raise DataError("There are no records to compare.", "Give records.")
        texts = [compared(record, on) for record in sample]
        frames = tuple(Frame.fit(column) for column in zip(*texts, strict=True)) if near else ()
        return cls(on, frames, share_to_keep([text for each in texts for text in each]) if near else 0)

    def __call__(self, records: Sequence[Record]) -> Arrays:
        """`key`, `size` (characters) and, where near rows are looked for, bags, band keys and signatures."""
        texts = [compared(record, self.on) for record in records]
        normalised = [[normalise(text) for text in each] for each in texts]
        columns: dict[str, NDArray[Any]] = {
            "key": np.array([_key_of_normalised(each) for each in normalised], dtype=np.uint64),
            "size": np.array([sum(map(len, each)) for each in texts], dtype=np.int64),
        }
        if not self.keep_one_in:
            return columns
        found = []
        for field, frame in enumerate(self.frames):
            bag = bags([frame.cut(each[field]) for each in normalised], self.keep_one_in)
            columns[f"words{field}"] = (bag.hashes >> np.uint64(32)).astype(np.uint32)
            columns[f"words{field}.offsets"] = bag.offsets
            columns[f"numbers{field}"] = bag.numbers
            found.append((bag.hashes, bag.offsets))
        hashes, offsets = _united(found)
        matrix = signatures(hashes, offsets)
        return columns | {"bands": band_keys(matrix), "signature": bytes_of(matrix)}


def _united(flat: Sequence[tuple[Keys, Rows]]) -> tuple[Keys, Rows]:
    """The bags of all fields as one per row, fields told apart by their salt."""
    if len(flat) == 1:
        return flat[0]
    counts = [np.diff(offsets) for _, offsets in flat]
    row = np.concatenate([np.repeat(np.arange(len(count)), count) for count in counts])
    salted = [hashes ^ (ANSWER_SALT * np.uint64(field)) for field, (hashes, _) in enumerate(flat)]
    order = np.argsort(row, kind="stable")
    return np.concatenate(salted)[order], np.concatenate([[0], np.cumsum(sum(counts))]).astype(np.int64)


class Match(NamedTuple):
    """The row that a row is like, and how much: the least similarity of the compared fields."""

    row: int
    similarity: float


class Likeness:
    """Compares rows by their columns: candidates by band, then by estimate, then by the true similarity.

    numbers: rows whose words with digits differ are never alike.
    """

    def __init__(self, columns: Columns, threshold: float, *, numbers: bool) -> None:
        self._columns = columns
        self._threshold = threshold
        self._signature = columns.joined("signature")
        self._fields = [name for name in columns.names() if name.startswith("words") and not name.endswith(".offsets")]
        self._numbers = [columns.joined(name.replace("words", "numbers")) for name in self._fields] if numbers else []

    def best(self, row: int, candidates: Sequence[int]) -> Match | None:
        """The candidate that a row is most like by estimate and that is truly alike; of equal ones the first."""
        others = np.array(sorted(candidates), dtype=np.int64)
        for column in self._numbers:
            others = others[column[others] == column[row]]
        estimates = (self._signature[others] == self._signature[row]).mean(axis=1)
        for place in np.argsort(-estimates, kind="stable").tolist():
            if estimates[place] < self._threshold - SLACK:
                return None
            found = self.similarity(row, int(others[place]))
            if found >= self._threshold:
                return Match(int(others[place]), found)
        return None

    def similarity(self, left: int, right: int) -> float:
        """The least Jaccard similarity of the compared fields of two rows."""
        read = self._columns.entries
        return min(similarity(read(name, left), read(name, right)) for name in self._fields)


class Survivors:
    """Goes through rows in order of preference: one that is like a kept row goes, the others stay.

    So each dropped row is like a kept one, and no chain of small changes drops what is like nothing that stays.
    """

    def __init__(self, bands: NDArray[np.uint64], best: Callable[[int, Sequence[int]], Match | None]) -> None:
        self._best = best
        self._buckets = Buckets.of(bands)
        # The kept rows of each bucket as a chain: the latest entry, and for each entry the one before it.
        self._latest = array("i", [-1]) * self._buckets.buckets
        self._before = array("i", [-1]) * len(self._buckets.row)
        self.crowded = 0
        """Looks into a bucket that held more than CROWD kept rows."""

    def drops(
        self, order: Sequence[int], tell: Callable[[int], None] = lambda done: None
    ) -> Iterator[tuple[int, Match]]:
        """Each row that is dropped, with what it is like. tell: hears how many rows are done."""
        offsets, latest, before, bucket = self._buckets.offsets, self._latest, self._before, self._buckets.bucket
        for place, row in enumerate(order):
            if not place % TOLD_ROWS:
                tell(place)
            entries = range(offsets[row], offsets[row + 1])
            candidates = {other for entry in entries for other in self._kept(bucket[entry])}
            match = self._best(row, list(candidates)) if candidates else None
            if match is not None:
                yield row, match
                continue
            for entry in entries:
                before[entry], latest[bucket[entry]] = latest[bucket[entry]], entry

    def _kept(self, bucket: int) -> list[int]:
        found: list[int] = []
        entry = self._latest[bucket]
        while entry >= 0 and len(found) < CROWD:
            found.append(self._buckets.row[entry])
            entry = self._before[entry]
        self.crowded += entry >= 0
        return found


class Buckets(NamedTuple):
    """Which rows share a band's key: the buckets of row r are bucket[offsets[r]:offsets[r + 1]].

    row: the row of each entry; buckets: how many there are.
    """

    bucket: array[int]
    row: array[int]
    offsets: array[int]
    buckets: int

    @classmethod
    def of(cls, bands: NDArray[np.uint64]) -> Buckets:
        """All buckets of more than one row."""
        rows, groups, count = [], [], 0
        for band in range(bands.shape[1]):
            order = np.argsort(bands[:, band], kind="stable")
            ordered = bands[order, band]
            first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
            shared = ~(first & np.concatenate([first[1:], [True]]))
            rows.append(order[shared].astype(np.int32))
            groups.append((np.cumsum(first[shared]) - 1 + count).astype(np.int32))
            count += int(first[shared].sum())
        row, group = np.concatenate(rows), np.concatenate(groups)
        by_row = np.argsort(row, kind="stable")
        offsets = np.searchsorted(row[by_row], np.arange(len(bands) + 1)).astype(np.int64)
        return cls(_array("i", group[by_row]), _array("i", row[by_row]), _array("q", offsets), count)


def _array(kind: str, values: NDArray[Any]) -> array[int]:
    """The values where Python reaches them faster one by one."""
    made: array[int] = array(kind)
    made.frombytes(values.tobytes())
    return made
