"""Mix: how often the rows of each file stand in training, replay of general text, rare labels, and one seeded order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator, model_validator

from outcrop.core.errors import DataError, UsageError, did_you_mean
from outcrop.core.seeds import derive
from outcrop.core.spec import Spec, parameter
from outcrop.data.assignment import TRAIN
from outcrop.data.labels import are_labels
from outcrop.data.records import Record, parts
from outcrop.data.split_columns import label_hashes
from outcrop.data.steps.alike import key_of
from outcrop.data.steps.columns import Arrays, Columns
from outcrop.data.steps.step import Decision, Measure, Rows, SetStep, Verdict
from outcrop.data.words import mixed

Keys = NDArray[np.uint64]
OWN = -1
"""The number of a file that the mix does not name."""


class MixSpec(Spec):
    """What training sees how often, and in which order. Files are named as they were given, or by their last part."""

    weights: dict[str, float] = parameter({}, "how often each row of a file comes: 2 twice, 0.5 every second row")
    replay: dict[str, float] = parameter(
        {},
        "files of general rows, each with the share of the training rows that it makes up",
        source="replay against forgetting: Scialom et al. 2022, arXiv 2205.12393, kept with 1 %",
    )
    balance: float | None = parameter(
        None, "rows of rare labels are repeated until each label has this share of the commonest one's rows", gt=0, le=1
    )
    most_repeats: int = parameter(10, "how often one row may come for the sake of balance", ge=1)
    order: Literal["shuffled", "files"] = parameter("shuffled", "of the training rows: drawn by the seed, or as read")
    seed: int = parameter(0, "of the order and of what is drawn", ge=0)

    @field_validator("weights", "replay")
    @classmethod
    def _usable(cls, values: dict[str, float]) -> dict[str, float]:
        for name, value in values.items():
            if not 0 <= value < float("inf"):
                raise ValueError(f"{value} for {name}; give 0 or more")
        return values

    @model_validator(mode="after")
    def _together(self) -> Self:
        if sum(self.replay.values()) >= 1:
            raise ValueError("the shares of replay leave nothing else; their sum has to be below 1")
        if both := sorted(set(self.weights) & set(self.replay)):
            raise ValueError(f"{', '.join(both)} stands in weights and in replay; leave out the weight")
        return self

    @property
    def files(self) -> list[str]:
        """The files that are named."""
        return [*self.weights, *self.replay]


class Mix(SetStep[MixSpec]):
    """Repeats, thins and orders the rows of training; validation and test stay as they are."""

    spec_type = MixSpec
    reasons: ClassVar = {
        "not-drawn": "the weight or the share of its file leaves this row out of training",
    }
    notes: ClassVar = {
        "replay-short": "replay rows that were wanted and are not there; rows of replay are not repeated",
        "balance-short": "rows that rare labels lack, as no row may be repeated so often",
    }
    is_last = True

    def check_inputs(self, names: Sequence[str]) -> None:
        """Refuse a name that is none of the files. Raises UsageError."""
        unknown = [name for name in self.spec.files if not any(_is(name, file) for file in names)]
        if unknown:
            raise UsageError(
                f"mix names {', '.join(unknown)}, and no file is called so.",
                did_you_mean(unknown[0], [*names, *(PurePath(name).name for name in names)]),
            )

    def measure(self, sample: Sequence[Record]) -> Measure:
        """Which file each row is of, its label, and a key of its content."""
        return MeasureMix(tuple(self.spec.files))

    def decide(self, columns: Columns) -> Decision:
        """The rows of training in their order, repeated as they are."""
        training = np.flatnonzero(np.ones(len(columns.joined("key")), bool) if columns.parts is None
                                  else columns.parts == TRAIN)  # fmt: skip
        drawn = _Drawn(self.spec, *(columns.joined(name)[training] for name in ("file", "label", "key")))
        times, notes = drawn.times()
        if not times.any():
            raise DataError("The weights of the mix leave no rows to train on.", "Raise them.")
        dropped = training[times == 0]
        verdict = Verdict.of((row, "not-drawn", -1, "") for row in dropped.tolist())
        # Numbers of rows count those that stay.
        place = np.arange(len(columns.joined("key"))) - np.searchsorted(dropped, np.arange(len(columns.joined("key"))))
        order = np.repeat(place[training], times)
        if self.spec.order == "shuffled":
            order = order[np.argsort(drawn.shuffle(times), kind="stable")]
        return Decision(verdict, notes, _figures(self.spec, drawn.file, times), order=order)


@dataclass(frozen=True)
class MeasureMix:
    """Makes the columns of a mix. files: as the spec names them."""

    files: tuple[str, ...]

    def __call__(self, records: Sequence[Record]) -> Arrays:
        """`file`, a number in files or OWN, `label`, a hash, 0 for what is none, and `key`."""
        found = {record.origin.file for record in records}
        number = {
            file: next((index for index, name in enumerate(self.files) if _is(name, file)), OWN) for file in found
        }
        return {
            "file": np.array([number[record.origin.file] for record in records], dtype=np.int32),
            "label": label_hashes(records),
            "key": np.array([key_of([part.text for part in parts(record)]) for record in records], dtype=np.uint64),
        }


class Times(NamedTuple):
    """How often each row comes, and what was wanted and could not be had."""

    times: Rows
    notes: dict[str, int]


class _Drawn:
    """The draw over the rows of training."""

    def __init__(
        self, spec: MixSpec, file: NDArray[np.int32], label: NDArray[np.uint64], key: NDArray[np.uint64]
    ) -> None:
        self._spec, self.file, self._label = spec, file, label
        self._keys = mixed(key ^ np.uint64(derive(spec.seed, "mix")))

    def times(self) -> Times:
        """By weights, then by labels, then the rows of replay."""
        times = np.ones(len(self.file), dtype=np.int64)
        notes = {}
        for number, weight in enumerate(self._spec.weights.values()):
            rows = np.flatnonzero(self.file == number)
            times[rows] = self._shared_out(rows, round(weight * len(rows)))
        replay = self.file >= len(self._spec.weights)
        if self._spec.balance is not None and (missing := self._balance(times, np.flatnonzero(~replay & (times > 0)))):
            notes["balance-short"] = missing
        if missing := self._replay(times, int(times[~replay].sum())):
            notes["replay-short"] = missing
        return Times(times, notes)

    def shuffle(self, times: Rows) -> NDArray[np.uint64]:
        """For each copy its place in a drawn order: every copy of a row has another one."""
        copy = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        return mixed(np.repeat(self._keys, times) + copy.astype(np.uint64))

    def _shared_out(self, rows: Rows, count: int) -> Rows:
        """`count` shared out among rows as evenly as can be; who has one more is drawn."""
        whole, more = divmod(count, max(1, len(rows)))
        times = np.full(len(rows), whole, dtype=np.int64)
        times[np.lexsort((rows, self._keys[rows]))[:more]] += 1
        return times

    def _balance(self, times: Rows, rows: Rows) -> int:
        """Repeat rows of rare labels; returns how many rows are still missing. Raises DataError without labels."""
        labels, codes, counts = np.unique(self._label[rows], return_inverse=True, return_counts=True)
        if not len(labels) or labels[0] == 0 or not are_labels(counts.tolist()):
            raise DataError("The answers are no labels, so mix.balance has nothing to balance.", "Leave it out.")
        held = np.bincount(codes, weights=times[rows]).astype(np.int64)
        wanted, short = int(np.ceil((self._spec.balance or 0) * held.max())), 0
        for code in np.flatnonzero(held < wanted).tolist():
            mine = rows[codes == code]
            count = min(wanted, len(mine) * self._spec.most_repeats)
            short += wanted - max(count, int(held[code]))
            if count > held[code]:
                times[mine] = self._shared_out(mine, count)
        return short

    def _replay(self, times: Rows, others: int) -> int:
        """Draw the rows of replay; returns how many are missing."""
        short, rest = 0, 1 - sum(self._spec.replay.values())
        for number, share in enumerate(self._spec.replay.values(), len(self._spec.weights)):
            rows = np.flatnonzero(self.file == number)
            wanted = round(others * share / rest)
            times[rows] = self._shared_out(rows, min(wanted, len(rows)))
            short += max(0, wanted - len(rows))
        return short


def _is(name: str, file: str) -> bool:
    """Whether a file is called so: whole, by its last part, or by a folder that it is in."""
    return name in (file, PurePath(file).name) or file.startswith(name.rstrip("/") + "/")


def _figures(spec: MixSpec, file: NDArray[np.int32], times: Rows) -> dict[str, Any]:
    """Rows of each named file, and of the others, before and after."""
    names = dict(enumerate(spec.files)) | {OWN: "other files"}
    by_file = {
        names[number]: {"rows": int((file == number).sum()), "in training": int(times[file == number].sum())}
        for number in np.unique(file).tolist()
    }
    return {"files": by_file, "training_rows": int(times.sum()), "most_repeats": int(times.max(initial=0))}
