"""Phrases as merges of ids: learnt as byte-pair encoding learns them, applied in their order, spelled out again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from outcrop.models.phrases import learn_phrases, merged, spelled

ANSWERS = [[1, 2, 3, 9], [1, 2, 4, 9], [1, 2, 3, 9], [5, 3, 9]]


def test_the_commonest_pairs_are_joined_first() -> None:
    assert learn_phrases(ANSWERS, 10, 2) == [((1,), (2,)), ((3,), (9,)), ((1, 2), (3, 9))]


@pytest.mark.parametrize(("most", "fewest", "count"), [(1, 2, 1), (10, 3, 2), (10, 4, 0)])
def test_there_are_as_many_as_wanted_and_none_too_rare(most: int, fewest: int, count: int) -> None:
    assert len(learn_phrases(ANSWERS, most, fewest)) == count


def test_ids_may_be_large_and_far_apart() -> None:
    wide = [[0, 255_999], [0, 255_999], *([token, token] for token in range(100_000, 170_000, 1000))]
    assert learn_phrases(wide, 1, 2) == [((0,), (255_999,))]


def test_first_merges_come_first_and_from_the_left() -> None:
    merges = {(1, 1): 10, (10, 1): 11, (2, 3): 12, (1, 2): 13}
    assert merged([1, 1, 1], merges) == [11]
    assert merged([1, 1, 1, 1], merges) == [10, 10]
    assert merged([1, 2, 3], merges) == [1, 12]
    assert merged([7], merges) == [7]
    assert merged([], merges) == []


def test_any_ids_are_merged_as_one_pair_at_a_time() -> None:
    """Against the plain rule: of all pairs the phrase with the lowest number, the first from the left, until none is
    left."""
    chance = np.random.default_rng(0)
    for _ in range(200):
        merges: dict[tuple[int, int], int] = {}
        for made in range(5, 5 + int(chance.integers(1, 20))):
            left, right = (int(each) for each in chance.integers(made, size=2))
            merges.setdefault((left, right), made)
        ids = [int(each) for each in chance.integers(5, size=chance.integers(0, 40))]
        plain = list(ids)
        while present := [(merges[pair], place) for place, pair in enumerate(pairwise(plain)) if pair in merges]:
            made, place = min(present)
            plain[place : place + 2] = [made]
        assert merged(ids, merges) == plain


def test_a_long_text_takes_no_square_of_its_length() -> None:
    merges = {(1, 2): 10, (10, 3): 11, (11, 11): 12}
    assert merged([1, 2, 3] * 160_000, merges) == [12] * 80_000


def test_spelled_out_they_are_what_they_were() -> None:
    merges = [(1, 2, 20), (3, 9, 21), (20, 21, 22)]
    runs = spelled(merges)
    assert runs == {20: (1, 2), 21: (3, 9), 22: (1, 2, 3, 9)}
    pairs = {(left, right): made for left, right, made in merges}
    for ids in ANSWERS:
        joined = merged(ids, pairs)
        assert [token for each in joined for token in runs.get(each, (each,))] == ids
