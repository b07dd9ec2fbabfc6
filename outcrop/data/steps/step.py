"""What a step is: a pure function of one record, or a decision over all rows taken from compact columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from outcrop.core.spec import Spec
from outcrop.data.records import Record
from outcrop.data.steps.columns import Arrays, Columns, Held, places

S = TypeVar("S", bound=Spec)
Rows = NDArray[np.int64]


class Change(NamedTuple):
    """One text that a step changed. before is None where the old text must not be kept (personal data)."""

    field: str
    codes: tuple[str, ...]
    before: str | None
    after: str


class Drop(NamedTuple):
    """Why a row is left out: a code of the step's `reasons`, and what was seen here."""

    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a row step did: the record to go on with, or None where it is dropped.

    notes: what was only counted, by code.
    """

    record: Record | None
    changes: tuple[Change, ...] = ()
    drop: Drop | None = None
    notes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def dropped(cls, code: str, detail: str = "") -> Outcome:
        """The outcome of a row that is left out."""
        return cls(None, drop=Drop(code, detail))


class Tools(NamedTuple):
    """What steps need and this floor cannot make. Picklable: they go to the worker processes.

    token_counter: makes the function that counts the tokens of a text with the named tokenizer;
    predicates: the caller's own conditions; a row is kept if all are true.
    """

    token_counter: Callable[[str], Callable[[str], int]] | None = None
    predicates: tuple[Callable[[Record], bool], ...] = ()


NO_TOOLS = Tools()


class Step(ABC, Generic[S]):
    """A step with its parameters. `reasons`: every code of a dropped row, `notes`: of what is changed or counted.

    is_last: after it come only steps of which this is true, too.
    """

    spec_type: ClassVar[type[Spec]]
    reasons: ClassVar[Mapping[str, str]] = {}
    notes: ClassVar[Mapping[str, str]] = {}
    is_last: ClassVar[bool] = False

    def __init__(self, spec: S | None = None, tools: Tools = NO_TOOLS) -> None:
        self.spec: S = self.spec_type() if spec is None else spec  # type: ignore[assignment]
        self.tools = tools

    @classmethod
    def files_of(cls, spec: S) -> list[Path]:
        """What a step with these parameters reads beside the records."""
        return []

    def check_inputs(self, names: Sequence[str]) -> None:
        """Refuse parameters that do not fit the input files, before anything is read. Raises UsageError."""
        return


class RowStep(Step[S]):
    """Decides on one record at a time; the same record always has the same outcome."""

    @abstractmethod
    def __call__(self, record: Record) -> Outcome:
        """Keep the record, changed or not, or drop it."""


class Verdict(NamedTuple):
    """Which rows a set step drops, ascending. like: the row that stands for a dropped one, -1 for none."""

    rows: Rows
    codes: Sequence[str]
    like: Rows
    details: Sequence[str]

    @classmethod
    def of(cls, found: Iterable[tuple[int, str, int, str]] = ()) -> Verdict:
        """From (row, code, like, detail), in any order."""
        ordered = sorted(found)
        rows = np.array([each[0] for each in ordered], dtype=np.int64)
        like = np.array([each[2] for each in ordered], dtype=np.int64)
        return cls(rows, [each[1] for each in ordered], like, [each[3] for each in ordered])

    def entries(self) -> Iterator[tuple[int, str, int, str]]:
        """(row, code, like, detail) of each dropped row."""
        return zip(self.rows.tolist(), self.codes, self.like.tolist(), self.details, strict=True)


class Decision(NamedTuple):
    """A verdict, what was counted by code, and figures for the report (JSON-ready).

    parts: for each row that stays the number of its part in `part_names`; order: the rows of the first part as they are
    to be written, by their place among those that stay, some perhaps several times; certificate: of a split.
    """

    verdict: Verdict
    notes: Mapping[str, int] = MappingProxyType({})
    figures: Mapping[str, Any] = MappingProxyType({})
    parts: NDArray[np.int8] | None = None
    part_names: tuple[str, ...] = ()
    order: Rows | None = None
    certificate: Mapping[str, Any] | None = None


Measure = Callable[[Sequence[Record]], Arrays]
"""Turns records into columns; pure and picklable, called shard by shard in worker processes."""


class SetStep(Step[S]):
    """Decides over all rows at once, from columns that `measure` makes of them piece by piece."""

    @abstractmethod
    def measure(self, sample: Sequence[Record]) -> Measure:
        """The function that makes the columns; the sample stands for all rows, whatever their number."""

    @abstractmethod
    def decide(self, columns: Columns) -> Decision:
        """The rows to drop, numbered in the order in which they were measured."""

    def apply(self, records: Sequence[Record]) -> Decision:
        """The decision on records in memory."""
        measured = self.measure(records[:SAMPLE_ROWS])(records)
        names = sorted({record.origin.file for record in records})
        return self.decide(Columns([Held({**measured, **places(records, names)})], names))


SAMPLE_ROWS = 2000
"""Rows on which a set step may fit itself, taken from the beginning, so that the number of workers changes nothing."""
