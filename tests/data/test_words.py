"""Bags of words: their similarity is that of multisets counted by hand, and the estimate is close to it."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.data.minhash import BAND_WIDTH, BANDS, band_keys, bytes_of, signatures
from outcrop.data.words import bags, share_to_keep, similarity, spelled

WORDS = ("the", "a", "card", "is", "not", "here", "12", "3", "café")
VOCABULARY = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12)


def by_hand(left: str, right: str) -> float:
    one, other = Counter(spelled(left).split(" ")), Counter(spelled(right).split(" "))
    return (one & other).total() / (one | other).total()


@given(VOCABULARY, VOCABULARY)
def test_similarity_is_that_of_multisets(left: list[str], right: list[str]) -> None:
    found = bags([" ".join(left), " ".join(right)])
    halves = [found.hashes[found.offsets[row] : found.offsets[row + 1]] for row in (0, 1)]
    assert similarity(*halves) == pytest.approx(by_hand(" ".join(left), " ".join(right)))


@given(st.lists(st.text(max_size=20), max_size=6))
def test_a_text_has_the_same_bag_in_any_company(texts: list[str]) -> None:
    together = bags(texts)
    assert len(together.offsets) == len(texts) + 1
    for row, text in enumerate(texts):
        alone = bags([text])
        assert np.array_equal(alone.hashes, together.hashes[together.offsets[row] : together.offsets[row + 1]])
        assert len(alone.hashes) >= 1
        assert alone.numbers[0] == together.numbers[row]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Where is it?", "where is IT"),
        ("Don’t stop, please!", "dont stop please"),
        ("a well-known fact", "a well known fact"),
        ("First this. Then that.", "Then that. First this."),
        ("naïve Ｃａｆé", "NAÏVE café"),
    ],
)
def test_case_punctuation_and_order_make_no_difference(left: str, right: str) -> None:
    assert by_hand(left, right) == 1


def test_a_minus_and_symbols_mean_something() -> None:
    assert spelled("3 - 4") == "3 − 4"
    assert spelled("???") == "???"
    assert spelled("😀") != spelled("😡")
    assert spelled("我想取消订单") == "我 想 取 消 订 单"


def test_numbers_are_the_words_with_digits_in_any_order() -> None:
    numbers = bags(["pay 12 and 7", "7 or 12 to pay", "pay 12 and 8", "pay"]).numbers
    assert numbers[0] == numbers[1] != numbers[2]
    assert numbers[3] == 0


def test_of_long_texts_a_share_is_kept_that_estimates_as_well() -> None:
    draw = random.Random(0)
    text = [f"word{draw.randrange(10**6)}" for _ in range(8000)]
    other = [*text[:6800], *(f"other{n}" for n in range(1200))]
    keep = share_to_keep([" ".join(text)])
    assert keep == 8
    found = bags([" ".join(text), " ".join(other)], keep)
    left, right = found.hashes[: found.offsets[1]], found.hashes[found.offsets[1] :]
    assert 800 < len(left) < 1200
    assert similarity(left, right) == pytest.approx(6800 / 9200, abs=0.06)


def test_signatures_estimate_without_bias() -> None:
    draw = random.Random(1)
    errors = []
    for _ in range(200):
        words = [f"w{draw.randrange(10**6)}" for _ in range(30)]
        found = bags([" ".join(words), " ".join([*words[:24], *(f"v{draw.randrange(10**6)}" for _ in range(6))])])
        matrix = signatures(found.hashes, found.offsets)
        errors.append((bytes_of(matrix)[0] == bytes_of(matrix)[1]).mean() - 24 / 36)
        assert band_keys(matrix).shape == (2, BANDS)
        assert matrix.shape == (2, BANDS * BAND_WIDTH)
    assert abs(np.mean(errors)) < 0.01
    assert np.std(errors) < 0.06
