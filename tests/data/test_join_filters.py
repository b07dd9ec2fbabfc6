"""Filters of the join: sets that are alike enough share an entry, whatever their sizes and the threshold."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.data.join_filters import Filter, Partitions, Prefixes, Sets


def sets_of(*elements: set[int]) -> Sets:
    ordered = [sorted(each) for each in elements]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in ordered])])
    return Sets(np.array([value for each in ordered for value in each], dtype=np.uint32), offsets.astype(np.int64))


def filters(sets: Sets, threshold: float) -> list[Filter]:
    return [Partitions(threshold, int(np.diff(sets.offsets).max())), Prefixes(threshold, [sets])]


@given(st.data(), st.integers(1, 200), st.sampled_from([0.5, 0.7, 0.75, 0.85, 0.9, 1.0]))
def test_sets_at_the_threshold_share_an_entry(data: st.DataObject, size: int, threshold: float) -> None:
    draw = data.draw(st.randoms(use_true_random=False))
    both = {draw.randrange(1 << 32) for _ in range(size)}
    union = int(Fraction(len(both)) / Fraction(str(threshold)))  # the most that J ≥ t allows
    alone = [draw.randrange(1 << 32) for _ in range(union - len(both))]
    cut = draw.randint(0, len(alone))
    left, right = both | set(alone[:cut]), both | set(alone[cut:])
    sets = sets_of(left, right)
    for made in filters(sets, threshold):
        entries = made.entries(sets, np.array([True, True]))
        other = set(entries.value[entries.row == 1].tolist())
        shared = [len(set(entries.value[entries.group == group].tolist()) & other) for group in (0, 1)]
        assert any(count > entries.spare[group] for group, count in enumerate(shared))


@pytest.mark.parametrize("size", [1, 6, 7, 40, 1000])
def test_entries_are_as_many_as_counted_and_only_of_chosen_rows(size: int) -> None:
    draw = np.random.default_rng(size)
    sets = sets_of(*(set(draw.integers(0, 1 << 32, size).tolist()) for _ in range(5)))
    chosen = np.array([True, False, True, True, False])
    for made in filters(sets, 0.85):
        entries = made.entries(sets, chosen)
        assert set(entries.row.tolist()) == {0, 2, 3}
        assert len(entries.value) == made.count(np.diff(sets.offsets)[chosen])
        assert len(made.entries(sets, np.zeros(5, dtype=bool)).value) == 0


def test_sets_of_unrelated_elements_share_no_more_entries_than_they_may_spare() -> None:
    draw = np.random.default_rng(0)
    sets = sets_of(*(set(draw.integers(0, 1 << 32, 100).tolist()) for _ in range(200)))
    entries = Partitions(0.85, 100).entries(sets, np.ones(200, dtype=bool))
    _, place, count = np.unique(entries.value, return_inverse=True, return_counts=True)
    shared = np.bincount(entries.group[count[place] > 1], minlength=400)  # ranges that are empty in both
    assert shared.max() > 0
    assert (shared > entries.spare).mean() < 0.01
    assert ceil(0.15 / 1.85 * 200) <= len(entries.value) / 400 <= 28
