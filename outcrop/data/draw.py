"""From the columns of all rows to the part of each: what stays together, the draw, and the proof that nothing crosses.

Synthetic rows take no part in the draw: they are in training, or in no part where they stay together with rows that
are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError
from outcrop.core.spec import Spec, parameter
from outcrop.data.assignment import LEFT_OUT, TRAIN, Codes, PartCodes, Shares, assign, assign_by_time, components
from outcrop.data.crossing import crossing
from outcrop.data.labels import are_labels
from outcrop.data.neighbours import clusters_of
from outcrop.data.split_columns import KINDS, Measured
from outcrop.data.steps.columns import Columns

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
class Bonds:
    """What keeps rows together, per row: the code of its group, of its near-duplicates, of all; and its time."""

    groups: Codes | None
    clusters: Codes
    components: Codes
    times: NDArray[np.float64] | None


@dataclass(frozen=True)
class Labels:
    """The labels of a set by name, sorted, and the number of each row's label; None where answers are no labels."""

    names: tuple[str, ...]
    codes: Codes


@dataclass(frozen=True)
class Draw:
    """The part of each row, an index into PARTS or LEFT_OUT, and what decided it."""

    part: PartCodes
    bonds: Bonds
    labels: Labels | None
    measured: Measured

    def sourceless(self) -> int:
        """Synthetic rows whose source is not among the rows."""
        return int((self.measured.synthetic & (sources(self.measured) == np.arange(len(self.part)))).sum())


def draw(columns: Columns, spec: SplitSpec) -> Draw:
    """The part of each row; a pure function of the spec and the set of rows, not of their order.

    Shares are reached to within one component of rows that stay together. Raises UsageError for shares that leave
    nothing to train on, and DataError where there are too few components for the parts, records of several kinds, or
    rows without the field of groups or times.
    """
    spec.shares.check()
    rows = Measured(columns)
    _check(rows, spec)
    labels = _labels(rows) if spec.stratify else None
    strata = labels.codes if labels else np.zeros(len(rows.keys), dtype=np.int64)
    own = np.arange(len(rows.keys), dtype=np.int64)
    groups = _groups(rows) if spec.group_by else None
    times = rows["time"] if spec.time_by else None
    bound = components(own if groups is None else groups, sources(rows))
    near = clusters_of(rows.prints(), rows.of, tell=partial(rows.tell, "finding near-duplicates"))
    while True:
        bonds = Bonds(groups, near, components(bound, near), times)
        part = _assigned(spec, strata, bonds, rows)
        tell = partial(rows.tell, "proving that no almost equal pair crosses")
        crossed = list(crossing(rows, _compared(rows.keys, part), tell=tell))
        if not crossed:
            return Draw(part, bonds, labels, rows)
        # MinHash missed these pairs and the exact join found them: their clusters become one.
        for left, right in crossed:
            near[near == near[right]] = near[left]


def sources(rows: Measured) -> Codes:
    """For each synthetic row the row that it was made from, where that is among the rows; every other for itself."""
    found = np.arange(len(rows.keys), dtype=np.int64)
    made = np.flatnonzero(rows.synthetic)
    real = np.flatnonzero(~rows.synthetic)
    for column, mark in ((rows.keys, rows["source.key"]), (rows["place"], rows["source.place"])):
        if not len(made) or not len(real):
            break
        known, first = np.unique(column[real], return_index=True)
        at = np.minimum(np.searchsorted(known, mark[made]), len(known) - 1)
        hit = (known[at] == mark[made]) & (mark[made] != 0)
        found[made[hit]] = real[first[at[hit]]]
    return found


def _assigned(spec: SplitSpec, strata: Codes, bonds: Bonds, rows: Measured) -> PartCodes:
    real = np.flatnonzero(~rows.synthetic)
    bond = bonds.components[real]
    if bonds.times is not None:
        drawn = assign_by_time(bonds.times[real], bond, bond, spec.shares)
    else:
        drawn = assign(strata[real], bond, bond, spec.shares, spec.seed, rows.keys[real])
    part = np.full(len(rows.keys), TRAIN, dtype=np.int8)
    part[real] = drawn
    latest = np.full(len(part), TRAIN, dtype=np.int8)
    np.maximum.at(latest, bonds.components[real], drawn)
    part[rows.synthetic & (latest[bonds.components] != TRAIN)] = LEFT_OUT
    return part


def _compared(keys: NDArray[np.uint64], part: PartCodes) -> Codes:
    """The parts as the proof wants them: of rows with equal prompts in one part only the first is compared."""
    order = np.lexsort((part, keys))
    again = (keys[order][1:] == keys[order][:-1]) & (part[order][1:] == part[order][:-1])
    compared = part.astype(np.int64)
    compared[order[1:][again]] = LEFT_OUT
    return compared


def _labels(rows: Measured) -> Labels | None:
    hashes, first, codes, counts = np.unique(rows["label"], return_index=True, return_inverse=True, return_counts=True)
    if not len(hashes) or hashes[0] == 0 or not are_labels(counts.tolist()):
        return None
    names = [rows.text("label.text", row) for row in first.tolist()]
    # By name, so that it does not depend on hashes.
    ordered = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), dtype=np.int64)
    place[ordered] = np.arange(len(names))
    return Labels(tuple(names[number] for number in ordered), place[codes])


def _groups(rows: Measured) -> Codes:
    """The number of each row's group; synthetic rows without the field are alone."""
    hashes = rows["group"]
    own = np.arange(len(hashes), dtype=np.int64)
    codes = np.unique(hashes, return_inverse=True)[1].astype(np.int64)
    return np.where(hashes == 0, own + len(hashes), codes)


def _check(rows: Measured, spec: SplitSpec) -> None:
    """Refuse rows that cannot be split, all that are wrong at once."""
    kinds = sorted(KINDS[kind].__name__ for kind in np.unique(rows["kind"]).tolist())
    if len(kinds) != 1:
        raise DataError(f"Cannot split {' and '.join(kinds) or 'no records'}.", "Give records of one kind.")
    if rows.synthetic.all():
        raise DataError("All rows are synthetic, and such rows are never in a test.", "Split rows that people made.")
    for name, column in ((spec.group_by, "group.problem"), (spec.time_by, "time.problem")):
        if name is not None:
            _check_field(rows, name, list(rows.texts(column)))


def _check_field(rows: Measured, name: str, wrong: Sequence[tuple[int, str]]) -> None:
    if not wrong:
        return
    named = [f"{rows.origin(row)}: {name}: {problem}" for row, problem in wrong[:NAMED_ROWS]]
    if len(wrong) > NAMED_ROWS:
        named.append(f"… and {len(wrong) - NAMED_ROWS:,} more")
    raise DataError(
        f"{len(wrong):,} of {len(rows.keys):,} rows cannot be placed by {name}:\n" + "\n".join(named),
        "Every row needs it.",
    )
