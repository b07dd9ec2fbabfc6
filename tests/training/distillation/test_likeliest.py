"""What endpoints tell as targets: hand-computed distributions over tokens and over labels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from outcrop.core.completions import ToldToken
from outcrop.training.distillation.likeliest import certain, followed, from_labels, from_tokens, label_masses
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.layout import Teaching

SPEC = DistillationSpec()
PIECES = [b"</s>", b"ca", b"rd", b" fee", b"x", b"x", None]
NUMBERS = {b"</s>": 0, b"ca": 1, b"rd": 2, b" fee": 3}
IDS = {"card": [1, 2, 0], "card fee": [1, 2, 3, 0], "fee": [3, 0]}


def token(piece: bytes, probability: float, **others: float) -> ToldToken:
    """A token and others at its place, of which the first is the token itself, as endpoints have it."""
    likeliest = {piece: probability, **{name.replace("_", " ").encode(): value for name, value in others.items()}}
    return ToldToken(piece, math.log(probability), tuple((each, math.log(value)) for each, value in likeliest.items()))


def begun(beginning: bytes) -> frozenset[str]:
    return frozenset(label for label in IDS if label.encode().startswith(beginning))


def shown(teaching: Teaching | None) -> list[tuple[dict[int, float], float]]:
    assert teaching is not None
    return [
        ({int(n): round(float(p), 4) for n, p in zip(ids, probabilities, strict=True) if p > 0}, round(float(rest), 4))
        for ids, probabilities, rest in zip(teaching.ids, teaching.probabilities, teaching.rest, strict=True)
    ]


def test_equal_tokens_are_taken_as_they_are_and_unknown_ones_join_the_rest() -> None:
    told = [token(b"ca", 0.7, _fee=0.2, unheard=0.05, x=0.01), token(b"rd", 0.9)]
    assert shown(from_tokens(told, [1, 2, 0], PIECES, NUMBERS, SPEC)) == [
        ({1: 0.7, 3: 0.2}, 0.1), ({2: 0.9}, 0.1), ({0: 1.0}, 0.0),
    ]  # fmt: skip
    told = [*told, token(b"</s>", 0.6, x=0.4)]  # an endpoint that tells the end, too
    assert shown(from_tokens(told, [1, 2, 0], PIECES, NUMBERS, SPEC))[-1] == ({0: 0.6}, 0.4)


@pytest.mark.parametrize("told", [[], [token(b"ca", 0.5)], [token(b"c", 1.0), token(b"ard", 1.0)]])
def test_other_tokens_are_not_understood(told: list[ToldToken]) -> None:
    assert from_tokens(told, [1, 2, 0], PIECES, NUMBERS, SPEC) is None


def test_as_much_is_kept_as_the_objective_says() -> None:
    told = [token(b"ca", 0.7, rd=0.1, _fee=0.2)]
    two = SPEC.model_copy(update={"kept_tokens": 2})
    assert shown(from_tokens(told, [1, 0], PIECES, NUMBERS, two))[0] == ({1: 0.7, 3: 0.2}, 0.1)
    half = SPEC.model_copy(update={"kept_mass": 0.5})
    assert shown(from_tokens(told, [1, 0], PIECES, NUMBERS, half))[0] == ({1: 0.7}, 0.3)


def test_a_label_has_the_probability_of_the_token_that_decides_for_it() -> None:
    told = [token(b" f", 0.6, card=0.1, c=0.2), token(b"ee", 1.0)]
    masses = label_masses(told, "fee", begun)
    assert masses is not None
    assert {tuple(sorted(group)): round(mass, 4) for group, mass in masses.items()} == {
        ("card", "card fee"): 0.3, ("fee",): 0.6,
    }  # fmt: skip
    assert shown(from_labels(told, "fee", IDS, begun, SPEC)) == [({3: 0.6, 1: 0.3}, 0.1), ({0: 1.0}, 0.0)]


def test_labels_part_where_their_tokens_do() -> None:
    told = [token(b"card", 0.9, fee=0.1), token(b" fee", 0.75, **{"</s>": 0.25})]
    rows = shown(from_labels(told, "card fee", IDS, begun, SPEC))
    assert rows[0] == ({1: 0.9, 3: 0.1}, 0.0)
    assert rows[1:] == [({2: 1.0}, 0.0), ({3: 0.75, 0: 0.25}, 0.0), ({0: 1.0}, 0.0)]
    other = [token(b"card", 0.9, fee=0.1), token(b" fee", 0.75, s=0.25)]  # "cards" is no label
    assert shown(from_labels(other, "card fee", IDS, begun, SPEC))[0] == ({1: 0.675, 3: 0.1}, 0.225)
    ended = [token(b"card", 0.9, fee=0.1), token(b"</s>", 0.8, _fee=0.2)]
    rows = shown(from_labels(ended, "card", IDS, begun, SPEC))
    assert rows[2] == ({0: 0.8, 3: 0.2}, 0.0)


def test_an_end_that_leaves_the_label_open_tells_nothing() -> None:
    assert from_labels([token(b"card", 0.9, fee=0.1)], "card", IDS, begun, SPEC) is None


def test_what_is_certain_goes_before() -> None:
    both = followed(certain([4, 5]), certain([6]))
    np.testing.assert_array_equal(both.ids, [[4], [5], [6]])
    np.testing.assert_array_equal(both.probabilities, np.ones((3, 1)))
    np.testing.assert_array_equal(both.rest, np.zeros(3))
