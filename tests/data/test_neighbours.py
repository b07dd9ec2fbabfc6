"""Near-duplicates: clusters and crossing pairs agree with brute force, whatever the frame around the texts."""

from __future__ import annotations

import random
import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.data.crossing import InMemory, crossing, crossing_pairs
from outcrop.data.minhash import signatures
from outcrop.data.neighbours import THRESHOLD, clusters, similar_pairs
from outcrop.data.shingles import Shingler, jaccard, normalise
from tests.data.corpus import prompts

WORDS = ("when", "where", "will", "my", "the", "card", "payment", "train", "order", "arrive", "cancel", "again")


def queries(count: int, seed: int = 0) -> list[str]:
    """Short rows, a tenth of which are another one with a small change."""
    draw = random.Random(seed)
    made = [" ".join(draw.choices(WORDS, k=draw.randint(4, 14))) for _ in range(count - count // 10)]
    changed = [text + draw.choice([" please", "?", " now", "", "  TODAY"]) for text in draw.sample(made, count // 10)]
    return made + changed


def shingles_by_hand(text: str) -> set[str]:
    body = normalise(text).ljust(5)
    return {body[start : start + 5] for start in range(len(body) - 4)}


def similarity_by_hand(left: str, right: str) -> float:
    first, second = shingles_by_hand(left), shingles_by_hand(right)
    return len(first & second) / len(first | second)


def near_pairs_by_hand(texts: list[str]) -> set[tuple[int, int]]:
    return {
        (left, right)
        for left, right in combinations(range(len(texts)), 2)
        if normalise(texts[left]) == normalise(texts[right])
        or similarity_by_hand(texts[left], texts[right]) >= THRESHOLD
    }


def clusters_by_hand(texts: list[str]) -> list[int]:
    group = list(range(len(texts)))
    for left, right in sorted(near_pairs_by_hand(texts)):
        old, new = group[right], group[left]
        group = [new if each == old else each for each in group]
    first = {each: group.index(each) for each in set(group)}
    return [first[each] for each in group]


@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_those_of_brute_force(seed: int) -> None:
    texts = queries(200, seed)
    found = clusters(texts).tolist()
    assert found == clusters_by_hand(texts)
    assert len(set(found)) < len(texts)


@pytest.mark.parametrize("seed", range(3))
def test_crossing_pairs_are_all_that_brute_force_finds(seed: int) -> None:
    texts = queries(200, seed)
    parts = [random.Random(seed + row).choice("ab") for row in range(len(texts))]
    expected = {(left, right) for left, right in near_pairs_by_hand(texts) if parts[left] != parts[right]}
    assert expected
    assert set(crossing_pairs(texts, parts)) == expected
    assert crossing_pairs(texts, ["a"] * len(texts)) == []


def test_crossing_pairs_of_long_texts_are_all_that_brute_force_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outcrop.data.crossing.CHUNK_PAIRS", 50)
    draw = random.Random(0)
    texts = [" ".join(queries(14, seed)) for seed in range(30)]
    for text in texts[:20]:
        words = text.split()
        for place in draw.sample(range(len(words)), draw.randint(1, len(words) // 12)):
            words[place] = draw.choice(["delta", "sigma", "omega"])
        texts.append(" ".join(words))
    parts = [draw.choice("abc") for _ in texts]
    expected = {(left, right) for left, right in near_pairs_by_hand(texts) if parts[left] != parts[right]}
    assert 3 < len(expected) < 20
    assert set(crossing_pairs(texts, parts)) == expected


@pytest.mark.parametrize(("entries", "candidates"), [(100, 1 << 20), (1 << 20, 0), (50, 3)])
def test_the_join_is_exact_in_several_passes_and_by_either_filter(
    entries: int, candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outcrop.data.crossing.INDEX_ENTRIES", entries)
    monkeypatch.setattr("outcrop.data.crossing.MOST_CANDIDATES", candidates)
    monkeypatch.setattr("outcrop.data.crossing.PIECE_ROWS", 64)
    texts = queries(200) + [f"Tell me the balance of account {row} at the bank of Exeter" for row in range(90)]
    parts = [random.Random(row).choice("abc") for row in range(len(texts))]
    expected = {(left, right) for left, right in near_pairs_by_hand(texts) if parts[left] != parts[right]}
    assert set(crossing_pairs(texts, parts)) == expected


def test_the_join_tells_how_far_it_is() -> None:
    texts = [normalise(text) for text in queries(100)]
    told: list[tuple[int, int]] = []
    part = np.arange(100) % 2
    list(crossing(InMemory(Shingler(), texts), part, tell=lambda done, total: told.append((done, total))))
    assert told == [(100, 100)]


@given(st.lists(st.text(max_size=20), max_size=6))
def test_similarity_is_jaccard_of_character_5_grams(texts: list[str]) -> None:
    flat = Shingler().flat([normalise(text) for text in texts])
    sets = [np.unique(flat.hashes[start:end]) for start, end in zip(flat.offsets, flat.offsets[1:], strict=False)]
    for left, right in combinations(range(len(texts)), 2):
        assert jaccard(sets[left], sets[right]) == pytest.approx(similarity_by_hand(texts[left], texts[right]))


def test_signatures_estimate_similarity() -> None:
    left = prompts()[0] * 4
    right = left.replace("train", "tram", 2)
    flat = Shingler().flat([normalise(left), normalise(right)])
    (estimate,) = {
        float(pairs.estimate[0])
        for pairs in similar_pairs(signatures(flat.hashes, flat.offsets), 0.5)
        if len(pairs.left)
    }
    assert estimate == pytest.approx(similarity_by_hand(left, right), abs=0.13)


def test_letter_case_unicode_form_and_white_space_make_no_difference() -> None:
    assert clusters(["Where is  the CAFÉ?\n", "where is the cafe\u0301?", "ｗhere is the café?"]).tolist() == [0, 0, 0]


def test_a_frame_around_all_texts_does_not_make_them_alike() -> None:
    framed = [f"You are a clerk of a bank and name the intent of this message: {text} Intent:" for text in prompts()]
    framed[-1] = framed[-2].replace("without any tools", "without any tool")
    assert similarity_by_hand(framed[0], framed[1]) > 0.6
    assert len(set(clusters(framed).tolist())) == len(framed) - 1
    assert crossing_pairs(framed, ["a", "b"] * 32) == [(62, 63)]


def test_few_texts_have_no_frame() -> None:
    assert Shingler.fit(["how do i reset my card", "how do i reset my car"]) == Shingler()


def test_long_documents_are_compared_on_a_share_of_their_shingles() -> None:
    draw = random.Random(0)
    documents = [" ".join("".join(draw.choices("abcdefghij", k=6)) for _ in range(3000)) for _ in range(4)]
    documents.append(documents[0].replace(documents[0][5000:5200], "changed"))
    shingler = Shingler.fit(map(normalise, documents))
    assert shingler.keep_one_in > 8
    assert np.diff(shingler.flat(documents).offsets).max() < 2000
    assert clusters(documents).tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["a", "b", "a"]])
def test_tiny_inputs(texts: list[str]) -> None:
    assert clusters(texts).tolist() == [texts.index(text) for text in texts]
    assert crossing_pairs(texts, [str(row) for row in range(len(texts))]) == [
        (left, right) for left, right in combinations(range(len(texts)), 2) if texts[left] == texts[right]
    ]


def test_ten_thousand_short_rows_take_less_than_three_seconds_of_one_core() -> None:
    texts = queries(10_000)
    began = time.process_time()
    found = clusters(texts)
    assert time.process_time() - began < 3
    assert len(found) == len(texts)
