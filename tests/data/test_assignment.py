"""Parts of rows by codes alone: nothing crosses, shares and strata are met, seeded, fast."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.core.errors import DataError, UsageError
from outcrop.data.assignment import (
    LEFT_OUT,
    PARTS,
    TEST,
    TRAIN,
    VALIDATION,
    Codes,
    Shares,
    assign,
    assign_by_time,
    components,
    folds,
)


def drawn(rows: int, groups: int, strata: int, seed: int = 0) -> tuple[Codes, Codes, Codes]:
    """Codes of strata, groups and clusters, at random."""
    random = np.random.default_rng(seed)
    return random.integers(strata, size=rows), random.integers(groups, size=rows), np.arange(rows)


def crossing(bond: Codes, part: np.ndarray) -> int:
    """How many values of the bond stand in two parts."""
    kept = part != LEFT_OUT
    return sum(len(set(part[kept & (bond == value)].tolist())) > 1 for value in np.unique(bond))


def test_components_join_rows_through_chains_of_both_bonds() -> None:
    groups = np.array([0, 1, 1, 2, 3, 4])
    clusters = np.array([0, 0, 5, 5, 7, 8])
    assert components(groups, clusters).tolist() == [0, 0, 0, 0, 4, 5]
    assert components(groups).tolist() == [0, 1, 1, 3, 4, 5]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=40))
def test_components_are_those_of_a_search(bonds: list[tuple[int, int]]) -> None:
    left, right = (np.array(code, dtype=np.int64) for code in zip(*bonds, strict=True))
    found = components(left, right)
    for row in range(len(bonds)):
        reached, frontier = {row}, [row]
        while frontier:
            at = frontier.pop()
            near = set(np.flatnonzero((left == left[at]) | (right == right[at])).tolist()) - reached
            reached |= near
            frontier += near
        assert found[row] == min(reached)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("rows", "groups"), [(1000, 600), (1000, 150), (300, 299), (400, 40)])
def test_nothing_crosses_and_sizes_and_strata_are_met(rows: int, groups: int, seed: int) -> None:
    strata, group, cluster = drawn(rows, groups, 7, seed)
    part = assign(strata, group, cluster, Shares(0.1, 0.2), seed)
    assert crossing(group, part) == 0
    largest = np.bincount(group).max()
    for code, wanted in ((VALIDATION, 0.1 * rows), (TEST, 0.2 * rows)):
        assert abs((part == code).sum() - wanted) < largest
        whole, inside = (np.bincount(each, minlength=7) / len(each) for each in (strata, strata[part == code]))
        assert np.abs(inside - whole).mean() < (0.02 if groups > 100 else 0.06)
    assert set(strata[part == TRAIN]) == set(strata)


def test_single_rows_meet_every_stratum_within_one_row() -> None:
    strata, _, cluster = drawn(1000, 1, 9)
    part = assign(strata, cluster, cluster, Shares(0.1, 0.1), 0)
    for code in (VALIDATION, TEST):
        assert (part == code).sum() == 100
        counts = np.bincount(strata[part == code], minlength=9)
        assert np.abs(counts - np.bincount(strata) * 0.1).max() < 1


def test_the_draw_depends_on_seed_and_content_not_on_order() -> None:
    strata, group, cluster = drawn(500, 300, 5)
    keys = np.random.default_rng(1).integers(1 << 63, size=500).astype(np.uint64)
    order = np.random.default_rng(2).permutation(500)
    first = assign(strata, group, cluster, Shares(), 3, keys)
    again = assign(strata[order], group[order], cluster[order], Shares(), 3, keys[order])
    assert (first[order] == again).all()
    assert (first != assign(strata, group, cluster, Shares(), 4, keys)).any()


def test_every_component_is_as_likely_to_be_tested() -> None:
    """Rows of large components must not be kept out of the test, or it would hold only what is rare."""
    group = np.repeat(np.arange(300), np.tile([1, 2, 6], 100))
    rows, counts = np.zeros(300), np.bincount(group)
    for seed in range(60):
        part = assign(np.zeros_like(group), group, group, Shares(0.1, 0.2), seed)
        rows += np.bincount(group[part == TEST], minlength=300) / counts
    shares = [rows[counts == size].mean() / 60 for size in (1, 2, 6)]
    assert all(abs(share - 0.2) < 0.03 for share in shares), shares


@pytest.mark.parametrize("shares", [Shares(0.5, 0.5), Shares(-0.1, 0.1), Shares(0, 1)])
def test_shares_that_leave_nothing_are_refused(shares: Shares) -> None:
    with pytest.raises(UsageError, match="leave no training rows"):
        assign(*drawn(10, 10, 1), shares, 0)


def test_rows_that_all_belong_together_cannot_be_split() -> None:
    one = np.zeros(30, dtype=np.int64)
    with pytest.raises(DataError, match="form 1 clusters, the largest of 30 rows"):
        assign(one, one, one, Shares(), 0)
    with pytest.raises(DataError, match="no rows"):
        assign(one[:0], one[:0], one[:0], Shares(), 0)


def test_parts_follow_each_other_in_time_and_equal_times_stay_together() -> None:
    times = np.random.default_rng(0).integers(40, size=400).astype(float)
    alone = np.arange(400)
    part = assign_by_time(times, alone, alone, Shares(0.2, 0.1))
    assert times[part == TRAIN].max() < times[part == VALIDATION].min()
    assert times[part == VALIDATION].max() < times[part == TEST].min()
    assert [(part == code).sum() for code in range(3)] == pytest.approx([280, 80, 40], abs=12)


def test_rows_that_reach_over_a_cut_leave_the_earlier_part() -> None:
    times = np.arange(100, dtype=float)
    group = np.arange(100)
    group[[3, 85, 95]] = 1000
    part = assign_by_time(times, group, np.arange(100), Shares(0.1, 0.1))
    assert part[[3, 85, 95]].tolist() == [LEFT_OUT, LEFT_OUT, TEST]
    assert (part == LEFT_OUT).sum() == 2
    with pytest.raises(DataError, match="The validation part would have no rows"):
        assign_by_time(np.zeros(10), np.arange(10), np.arange(10), Shares(0.1, 0.0))
    with pytest.raises(DataError, match="would have no rows"):
        assign_by_time(times, np.zeros(100, dtype=np.int64), np.arange(100), Shares(0.1, 0.1))


def test_folds_keep_bonds_together_and_spread_strata() -> None:
    strata, group, _ = drawn(1000, 400, 5)
    fold = folds(strata, group, 5, 0)
    assert crossing(group, fold) == 0
    assert np.bincount(fold).min() > 150
    alone = folds(strata, np.arange(1000), 5, 0)
    for stratum in range(5):
        counts = np.bincount(alone[strata == stratum], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_many_rows_are_split_quickly() -> None:
    """The bar is 3 s for 100,000 rows with 60,000 groups; the limit here leaves room for a busy machine."""
    strata, group, cluster = drawn(100_000, 60_000, 77)
    begun = time.process_time()
    part = assign(strata, group, cluster, Shares(), 0)
    assert time.process_time() - begun < 3
    assert [PARTS[code] for code in np.unique(part)] == list(PARTS)
