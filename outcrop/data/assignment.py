"""Which part each row goes to: rows that share a group or a cluster stay together, labels keep their shares.

Works on arrays of codes alone, so that a million rows can be split without their texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError, UsageError
from outcrop.core.seeds import derive

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
LEFT_OUT = -1
"""The part of a row that stands in no part: it would carry something of a later part into an earlier one."""

Codes = NDArray[np.int64]
Keys = NDArray[np.uint64]
PartCodes = NDArray[np.int8]


class Shares(NamedTuple):
    """Shares of the rows; training has the rest."""

    validation: float = 0.1
    test: float = 0.1

    def check(self) -> None:
        """Raise UsageError where they leave nothing to train on."""
        if not (0 <= self.validation < 1 and 0 <= self.test < 1 and self.validation + self.test < 1):
            raise UsageError(f"The shares validation={self.validation} and test={self.test} leave no training rows.",
                             "Lower them.")  # fmt: skip

    def rows(self, rows: int) -> tuple[int, int, int]:
        """Rows of each part, in the order of PARTS; a share above 0 asks for one row at least."""
        validation, test = (max(1, round(share * rows)) if share else 0 for share in self)
        return rows - validation - test, validation, test


def components(*codes: Codes) -> Codes:
    """For each row the first row of its component: rows are connected where any of the codes is equal.

    Union by least root with path halving, all rows at once; codes: one array per kind of bond, of equal lengths.
    """
    root = np.arange(len(codes[0]), dtype=np.int64)
    bonds = [np.unique(code, return_inverse=True)[1] for code in codes]
    changed = bool(len(root))
    while changed:
        changed = False
        for bond in bonds:
            least = np.full(int(bond.max()) + 1, len(root), dtype=np.int64)
            np.minimum.at(least, bond, root)
            if np.array_equal(least[bond], root):
                continue
            changed = True
            np.minimum.at(root, root.copy(), least[bond])
            while not np.array_equal(shorter := root[root], root):
                root = shorter
    return root


def assign(
    strata: Codes, groups: Codes, clusters: Codes, shares: Shares, seed: int, keys: Keys | None = None
) -> PartCodes:
    """The part of each row, an index into PARTS.

    Rows with one group or one cluster, directly or through others, stay together. Every stratum has its share in each
    part, as far as whole components allow, and keeps at least one component in training; sizes are met to within one
    component. keys: a hash of each row's content, which makes the result independent of the order of rows; without it
    the draw depends on the row numbers. Raises UsageError for impossible shares, DataError for too few components.
    """
    shares.check()
    if not len(strata):
        raise DataError("There are no rows to split.", "Give rows.")
    draw = _Draw(_table(strata, components(groups, clusters), seed, keys), shares)
    draw.keep_back()
    draw.spread_large()
    for part in (TEST, VALIDATION):
        draw.fill_with_single_rows(part)
        draw.mend_size(part)
    draw.check()
    return draw.part[draw.table.component]


def assign_by_time(times: NDArray[np.float64], groups: Codes, clusters: Codes, shares: Shares) -> PartCodes:
    """The part of each row where training comes before validation, and validation before the test.

    Rows of one time are not cut apart. Where a group or cluster reaches over a cut, its rows stay only in the latest
    of its parts and the earlier ones are LEFT_OUT: the test keeps the rows that the future brings. times: seconds.
    Raises UsageError for impossible shares, and DataError where a part would be empty.
    """
    shares.check()
    wanted = shares.rows(len(times))
    ordered = np.sort(times)
    part = np.full(len(times), TRAIN, dtype=np.int8)
    for number, rows in ((VALIDATION, wanted[VALIDATION] + wanted[TEST]), (TEST, wanted[TEST])):
        if wanted[number]:
            part[times >= _cut(ordered, len(times) - rows)] = number
    bond = components(groups, clusters)
    latest = np.full(len(part), TRAIN, dtype=np.int8)
    np.maximum.at(latest, bond, part)
    part[part < latest[bond]] = LEFT_OUT
    missing = [PARTS[number] for number in range(3) if wanted[number] and not (part == number).any()]
    if missing:
        raise DataError(
            f"The {' and '.join(missing)} part would have no rows: too many rows share one time, or groups and almost "
            "equal prompts reach from the first to the last.",
            "Ask for other shares, or split without a time field.",
        )
    return part


def folds(strata: Codes, bonds: Codes, count: int, seed: int) -> Codes:
    """For each row one of `count` folds; rows of one bond stay together and strata are spread evenly."""
    table = _table(strata, components(bonds), seed, None)
    order = np.lexsort((table.rank, table.stratum))
    stratum = table.stratum[order]
    starts = np.flatnonzero(np.r_[True, stratum[1:] != stratum[:-1]])
    position = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    fold = np.empty(len(order), dtype=np.int64)
    # Each stratum begins at another fold, or rare strata would all fall into the first ones.
    fold[order] = (position + stratum) % count
    return fold[table.component]


class _Table(NamedTuple):
    """Components: of each row its number; per number its rows, its place in the seeded order, its commonest stratum;
    and what it holds: from bounds[c] to bounds[c + 1] the strata of component c with their rows."""

    component: Codes
    size: Codes
    rank: Codes
    stratum: Codes
    bounds: Codes
    held: Codes
    rows: Codes


def _table(strata: Codes, roots: Codes, seed: int, keys: Keys | None) -> _Table:
    component = np.unique(roots, return_inverse=True)[1].astype(np.int64)
    count = int(component.max()) + 1
    stratum = np.unique(strata, return_inverse=True)[1].astype(np.int64)
    width = int(stratum.max()) + 1
    drawn = np.full(count, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(drawn, component, _mixed(np.arange(len(roots), dtype=np.uint64) if keys is None else keys, seed))
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(drawn, kind="stable")] = np.arange(count)
    pairs, rows = np.unique(component * width + stratum, return_counts=True)
    owner, held = np.divmod(pairs, width)
    bounds = np.searchsorted(owner, np.arange(count + 1))
    commonest = np.lexsort((-held, rows, owner))[bounds[1:] - 1]
    return _Table(component, np.bincount(component), rank, held[commonest], bounds, held, rows)


def _mixed(keys: Keys, seed: int) -> Keys:
    """Keys as a seeded order: the finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    mixed = keys ^ np.uint64(derive(seed, "split"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


class _Draw:
    """The draw as it goes on: the part of each component, and how many rows of each stratum each part holds."""

    def __init__(self, table: _Table, shares: Shares) -> None:
        self.table = table
        self.wanted = shares.rows(len(table.component))
        self.part = np.full(len(table.size), TRAIN, dtype=np.int8)
        self._fixed = np.zeros(len(table.size), dtype=bool)
        whole = np.bincount(table.held, weights=table.rows).astype(np.float64)
        quotas = [_quotas(whole, wanted) for wanted in self.wanted[1:]]
        self._quota = np.array([whole - quotas[0] - quotas[1], *quotas])
        self._held = np.zeros_like(self._quota)

    def keep_back(self) -> None:
        """Fix the last component of every stratum in training."""
        owner = np.repeat(np.arange(len(self.table.size)), np.diff(self.table.bounds))
        order = np.lexsort((self.table.rank[owner], self.table.held))
        last = order[np.r_[self.table.held[order][1:] != self.table.held[order][:-1], True]]
        self._fixed[owner[last]] = True
        self._add(np.flatnonzero(self._fixed), TRAIN)

    def spread_large(self) -> None:
        """Give each component of several rows to the part whose quotas lack it most, in the seeded order.

        Lacking is measured as Pearson's χ² of rows against quotas, per stratum, per size of component and in all: the
        least increase wins. Without the sizes small components would fill the small parts.
        """
        large = np.flatnonzero((self.table.size > 1) & ~self._fixed)
        large = large[np.argsort(self.table.rank[large])]
        magnitude = np.log2(self.table.size).astype(np.int64)
        by_size = np.bincount(magnitude, weights=self.table.size) / len(self.table.component)
        wanted = np.array(self.wanted)[:, None]
        width = self._quota.shape[1]
        quota = np.hstack([self._quota, wanted * by_size, wanted]).clip(0.5).tolist()
        held = np.hstack([self._held, np.zeros((len(PARTS), len(by_size))), self._held.sum(axis=1, keepdims=True)])
        held[TRAIN, width:-1] = np.bincount(
            magnitude[self._fixed], weights=self.table.size[self._fixed], minlength=len(by_size)
        )
        held = held.tolist()
        starts, ends = self.table.bounds[large].tolist(), self.table.bounds[large + 1].tolist()
        strata, rows = self.table.held.tolist(), self.table.rows.tolist()
        sizes, magnitudes = self.table.size[large].tolist(), (width + magnitude[large]).tolist()
        chosen = []
        for start, end, size, kind in zip(starts, ends, sizes, magnitudes, strict=True):
            content = [*zip(strata[start:end], rows[start:end], strict=True), (kind, size), (-1, size)]
            best, least = TRAIN, _increase(content, held[TRAIN], quota[TRAIN])
            for part in (TEST, VALIDATION):
                if held[part][-1] + size <= self.wanted[part]:
                    increase = _increase(content, held[part], quota[part])
                    if increase < least:
                        best, least = part, increase
            for stratum, count in content:
                held[best][stratum] += count
            chosen.append(best)
        self.part[large] = chosen
        self._held = np.array(held)[:, :width]

    def fill_with_single_rows(self, part: int) -> None:
        """Take of every stratum as many single rows as its quota still lacks, in the seeded order."""
        free = self._free(self.table.size == 1)
        order = free[np.lexsort((self.table.rank[free], self.table.stratum[free]))]
        stratum = self.table.stratum[order]
        lacking = (self._quota[part] - self._held[part]).clip(0)
        first = np.searchsorted(stratum, np.arange(len(lacking)))
        self._move(order[np.arange(len(order)) - first[stratum] < lacking[stratum]], part)

    def mend_size(self, part: int) -> None:
        """Take or give back components where the strata, each within one row, do not sum up to the part's size."""
        missing = self.wanted[part] - int(self._held[part].sum())
        if missing < 0:
            single = np.flatnonzero((self.part == part) & (self.table.size == 1))
            surplus = single[np.argsort(-self.table.rank[single])][:-missing]
            self._move(surplus, TRAIN)
            return
        free = self._free(self.table.size <= missing)
        free = free[np.argsort(self.table.rank[free])]
        while missing and len(free := free[self.table.size[free] <= missing]):
            taken = free[: max(1, int(np.searchsorted(np.cumsum(self.table.size[free]), missing, side="right")))]
            self._move(taken, part)
            missing -= int(self.table.size[taken].sum())
            free = free[len(taken) :]
        over = self._free((self.table.size > missing) & (self.table.size < 2 * missing))
        if missing and len(over):
            self._move(over[np.lexsort((self.table.rank[over], self.table.size[over]))][:1], part)

    def check(self) -> None:
        """Raise DataError where a part that was asked for has no rows."""
        for part, wanted in enumerate(self.wanted):
            if wanted and not (self.part == part).any():
                raise DataError(
                    f"A {PARTS[part]} part of {wanted:,} of {len(self.table.component):,} rows cannot be made: rows "
                    f"that stay together form {len(self.part):,} clusters, the largest of "
                    f"{int(self.table.size.max()):,} rows.",
                    "Add rows that differ, de-duplicate them, group by a finer field, or ask for other shares.",
                )

    def _free(self, condition: NDArray[np.bool_]) -> Codes:
        return np.flatnonzero((self.part == TRAIN) & ~self._fixed & condition)

    def _move(self, chosen: Codes, part: int) -> None:
        """Move components that the draw has counted, or not yet counted in training."""
        if part == TRAIN:
            self._add(chosen, int(self.part[chosen[0]]), -1)
        self.part[chosen] = part
        if part != TRAIN:
            self._add(chosen, part)

    def _add(self, chosen: Codes, part: int, sign: int = 1) -> None:
        counts = self.table.bounds[chosen + 1] - self.table.bounds[chosen]
        shift = self.table.bounds[chosen] - np.cumsum(counts) + counts
        places = np.repeat(shift, counts) + np.arange(counts.sum())
        np.add.at(self._held[part], self.table.held[places], sign * self.table.rows[places])


def _increase(content: Sequence[tuple[int, int]], held: Sequence[float], quota: Sequence[float]) -> float:
    """How much χ² of one part grows by a component: ((a + c − q)² − (a − q)²) / q, over what it holds."""
    return sum(rows * (2 * (held[place] - quota[place]) + rows) / quota[place] for place, rows in content)


def _quotas(rows: NDArray[np.float64], wanted: int) -> NDArray[np.float64]:
    """`wanted` shared out in proportion to the rows of each stratum, by largest remainders."""
    exact = rows * wanted / rows.sum()
    quotas: NDArray[np.float64] = np.floor(exact)
    by_remainder = np.argsort(quotas - exact, kind="stable")
    quotas[by_remainder[: wanted - int(quotas.sum())]] += 1
    return quotas


def _cut(ordered: NDArray[np.float64], place: int) -> float:
    """The time from which a later part begins: the change of times nearest to a place in their order."""
    time = ordered[place]
    before, after = (int(np.searchsorted(ordered, time, side=side)) for side in ("left", "right"))
    if before == 0 or (after < len(ordered) and after - place < place - before):
        before = after
    return float(ordered[before]) if before < len(ordered) else float("inf")
