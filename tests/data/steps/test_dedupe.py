"""De-duplication: planted edits are found, what differs stays, and the stated rule says which row survives."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

from outcrop.core.errors import DataError
from outcrop.data.records import Pair, Record, Text
from outcrop.data.steps.alike import Buckets
from outcrop.data.steps.dedupe import Dedupe, DedupeSpec
from outcrop.data.words import bags

SYLLABLES = [consonant + vowel for consonant in "bdklmnr" for vowel in "aeiou"]
ROWS = 400


def word(draw: random.Random) -> str:
    return "".join(draw.choices(SYLLABLES, k=draw.randint(1, 4)))


def sentence(draw: random.Random, words: int) -> str:
    made = [draw.choice(COMMON) if draw.random() < 0.4 else word(draw) for _ in range(words)]
    return " ".join(made).capitalize() + draw.choice(".?!")


COMMON = ["the", "a", "is", "of", "to", "my", "and", "in", "not", "for"]


def text(draw: random.Random, words: int) -> str:
    """A text of sentences of five to twelve words."""
    left, made = words, []
    while left:
        size = left if left <= 12 else draw.randint(5, min(12, left - 5))
        size = size // 2 if size == left == words and words <= 12 else size
        made.append(sentence(draw, size))
        left -= size
    return " ".join(made)


def case(draw: random.Random, text: str) -> str:
    return draw.choice([text.upper(), text.lower(), text.title(), text.swapcase()])


def punctuation(draw: random.Random, text: str) -> str:
    words = [word.strip(".?!") for word in text.split()]
    return " ".join(f"{word}{draw.choice(['', '', ',', ';', ' -', '!'])}" for word in words) + "…"


def one_word_in_ten(draw: random.Random, text: str) -> str:
    words = text.split()
    for place in draw.sample(range(len(words)), max(1, round(len(words) / 10))):
        words[place] = word(draw)
    return " ".join(words)


def reordered(draw: random.Random, text: str) -> str:
    sentences = text.replace("?", ".").replace("!", ".").split(". ")
    draw.shuffle(sentences)
    return ". ".join(sentences)


EDITS: dict[str, Callable[[random.Random, str], str]] = {
    "case": case, "punctuation": punctuation, "one word in ten": one_word_in_ten, "reordered": reordered,
}  # fmt: skip


class Found(NamedTuple):
    recall: float
    precision: float


def planted(edit: str, words: int, seed: int = 0) -> Found:
    """Recall and precision over rows of which a quarter has an edited copy; as many others share half their words."""
    draw = random.Random(seed)
    rows = [text(draw, words) for _ in range(ROWS)]
    twins = draw.sample(range(ROWS), ROWS // 4)
    cousins = [" ".join(half(draw, rows[row])) for row in draw.sample(range(ROWS), ROWS // 4)]
    copies = [EDITS[edit](draw, rows[row]) for row in twins]
    verdict = Dedupe().apply([Text(each) for each in [*rows, *cousins, *copies]]).verdict
    true = {(ROWS + len(cousins) + place, row) for place, row in enumerate(twins)}
    got = {(row, like) for row, _, like, _ in verdict.entries()}
    return Found(len(got & true) / len(true), len(got & true) / max(1, len(got)))


def half(draw: random.Random, text: str) -> list[str]:
    words = text.split()
    for place in draw.sample(range(len(words)), len(words) // 2):
        words[place] = word(draw)
    return words


@pytest.mark.parametrize("words", [10, 17, 25, 200])
@pytest.mark.parametrize("edit", list(EDITS))
def test_planted_edits_are_found_and_nothing_else(edit: str, words: int) -> None:
    found = planted(edit, words)
    assert found.recall >= 0.99
    assert found.precision >= 0.99


def dropped(records: list[Record], **parameters: object) -> list[tuple[int, str, int]]:
    entries = Dedupe(DedupeSpec.parse(parameters)).apply(records).verdict.entries()
    return [(row, code, like) for row, code, like, _ in entries]


TEN = "please tell me where the parcel that I ordered is"


def test_equal_rows_are_those_equal_after_normalisation() -> None:
    rows = [Pair("a  b", "X"), Pair("A B", "x "), Pair("a b", "y"), Pair("a b", "X")]
    assert dropped(rows) == [(1, "exact-duplicate", 0), (3, "exact-duplicate", 0)]
    assert dropped(rows, on="prompt") == [(row, "exact-duplicate", 0) for row in (1, 2, 3)]
    assert dropped(rows, on="completion") == [(1, "exact-duplicate", 0), (3, "exact-duplicate", 0)]


def test_of_pairs_both_texts_must_be_alike_unless_said_otherwise() -> None:
    rows = [Pair(TEN, "Lima"), Pair(TEN + " now", "Lima"), Pair(TEN + "?", "Quito")]
    assert dropped(rows) == [(1, "near-duplicate", 0)]
    assert [row for row, *_ in dropped(rows, on="prompt")] == [1, 2]
    assert dropped(rows, near=None) == []


def test_other_numbers_are_another_row_unless_said_otherwise() -> None:
    rows = [Text(f"{TEN}, order number {number}") for number in (17, 18)]
    assert dropped(rows) == []
    assert dropped(rows, numbers=False) == [(1, "near-duplicate", 0)]


def test_the_first_row_stays_or_the_longest() -> None:
    rows = [Text(TEN), Text(f"{TEN} today"), Text(TEN.upper())]
    assert [(row, like) for row, _, like in dropped(rows)] == [(1, 0), (2, 0)]
    assert [(row, like) for row, _, like in dropped(rows, survivor="longest")] == [(0, 1), (2, 1)]


def test_every_dropped_row_is_like_a_row_that_stays_however_long_the_chain() -> None:
    draw = random.Random(3)
    words = [word(draw) for _ in range(20)]
    chain = [list(words)]
    for place in range(20):
        chain.append([*chain[-1][:place], word(draw), *chain[-1][place + 1 :]])
    step = Dedupe()
    verdict = step.apply([Text(" ".join(each)) for each in chain]).verdict
    gone = set(verdict.rows.tolist())
    found = bags([" ".join(each) for each in chain])
    for row, like in zip(verdict.rows.tolist(), verdict.like.tolist(), strict=True):
        assert like not in gone
        left, right = (
            set(found.hashes[found.offsets[each] : found.offsets[each + 1]].tolist()) for each in (row, like)
        )
        assert len(left & right) / len(left | right) >= 0.75
    assert 0 not in gone
    assert len(gone) < 20, "the end of the chain is not like its beginning"


def test_a_crowd_of_equal_rows_is_one_cluster_in_the_figures() -> None:
    rows: list[Record] = [Text(TEN)] * 50 + [Text(f"{TEN} {'really ' * (row % 2)}now") for row in range(10)]
    decision = Dedupe().apply(rows)
    assert len(decision.verdict.rows) == 59
    assert decision.figures["clusters"] == 1
    assert decision.figures["largest_cluster_rows"] == 60
    assert "first row of a cluster stays" in decision.figures["rule"]


def test_buckets_hold_the_rows_that_share_a_key() -> None:
    import numpy as np

    bands = np.array([[1, 5], [2, 5], [1, 6], [3, 7]], dtype=np.uint64)
    buckets = Buckets.of(bands)
    mine = [list(buckets.bucket[buckets.offsets[row] : buckets.offsets[row + 1]]) for row in range(4)]
    assert mine == [[0, 1], [1], [0], []]


def test_no_records_are_refused() -> None:
    with pytest.raises(DataError, match="no records"):
        Dedupe(DedupeSpec()).apply([])
