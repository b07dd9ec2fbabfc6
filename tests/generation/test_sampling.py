"""Choosing tokens: the right distribution, the right restrictions, streams of their own."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from outcrop.core.completions import Sampling
from outcrop.core.errors import UsageError
from outcrop.generation import sampling as choosing
from outcrop.generation.sampling import (
    LARGEST_BIAS,
    LARGEST_PENALTY,
    Chooser,
    DrawStream,
    check_sampling,
    choose_tokens,
)

LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0])


def _choose(sampling: Sampling, draws: int = 1, logits: torch.Tensor = LOGITS) -> list[int]:
    """Tokens of `draws` rows with the same logits and seeds 0, 1, …"""
    choosers = [Chooser(replace(sampling, seed=seed), ()) for seed in range(draws)]
    return choose_tokens(logits.expand(draws, -1), choosers).tokens


def _shares(tokens: list[int]) -> torch.Tensor:
    return torch.bincount(torch.tensor(tokens), minlength=len(LOGITS)) / len(tokens)


def test_temperature_zero_is_greedy_with_the_models_own_log_probability() -> None:
    chosen = choose_tokens(LOGITS[None], [Chooser(Sampling(), ())])
    assert chosen.tokens == [0]
    assert chosen.logprobs == pytest.approx([LOGITS.log_softmax(-1)[0].item()], abs=1e-6)


def test_log_probabilities_are_untempered_and_unrestricted() -> None:
    sampling = Sampling(temperature=3.0, top_k=2, top_p=0.9, logit_bias=((1, 3.0),), repetition_penalty=2.0)
    chosen = choose_tokens(LOGITS[None], [Chooser(sampling, (0, 1))])
    assert chosen.logprobs == pytest.approx([LOGITS.log_softmax(-1)[chosen.tokens[0]].item()], abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_distribution(temperature: float) -> None:
    expected = (LOGITS / temperature).softmax(-1)
    shares = _shares(_choose(Sampling(temperature=temperature), draws=20_000))
    # Five standard errors of a share.
    assert torch.all((shares - expected).abs() < 5 * (expected * (1 - expected) / 20_000).sqrt())


def test_top_k_keeps_exactly_the_k_likeliest_even_when_tied() -> None:
    tied = torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert set(_choose(Sampling(temperature=1.0, top_k=2), draws=500, logits=tied)) == {0, 1}


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    # Probabilities 0.56, 0.20, 0.12, …: two tokens reach 0.7, the first alone reaches 0.5.
    assert set(_choose(Sampling(temperature=1.0, top_p=0.7), draws=500)) == {0, 1}
    assert set(_choose(Sampling(temperature=1.0, top_p=0.5), draws=500)) == {0}


def test_top_p_counts_within_what_top_k_left() -> None:
    # Of the two likeliest, the first has 0.73 of the probability: it reaches 0.7 now, and did not among all five.
    assert set(_choose(Sampling(temperature=1.0, top_k=2, top_p=0.7), draws=500)) == {0}


@pytest.mark.parametrize("sampling", [Sampling(temperature=1e-30), Sampling(temperature=9, top_k=1)])
def test_the_limits_of_sampling_are_greedy(sampling: Sampling) -> None:
    assert set(_choose(sampling, draws=200)) == {0}


def test_rows_with_different_settings_share_a_batch() -> None:
    samplings = [Sampling(), Sampling(temperature=1.0, top_k=1), Sampling(temperature=1.0, top_p=1e-9)]
    chosen = choose_tokens(LOGITS.expand(3, -1), [Chooser(sampling, ()) for sampling in samplings])
    assert chosen.tokens == [0, 0, 0]


def test_draws_stay_in_their_range_and_depend_on_the_seed() -> None:
    draws = [DrawStream(seed).draw() for seed in range(1000)]
    assert all(0 <= draw <= 1 - 2**-52 for draw in draws)
    assert len(set(draws)) == 1000
    assert DrawStream(7).draw() == draws[7]


def test_a_row_whose_logits_are_not_numbers_is_named_and_hurts_no_other() -> None:
    chooser = Chooser(Sampling(temperature=1.0), ())
    logits = torch.tensor([[math.nan, 0.0], [0.0, math.inf], [9.0, -99.0]])
    chosen = choose_tokens(logits, [chooser] * 3)
    assert chosen.finite == [False, False, True]
    assert chosen.tokens[2] == 0


def test_min_p_keeps_what_is_not_much_less_likely_than_the_likeliest() -> None:
    # Shares of the likeliest: 1, 0.37, 0.22, 0.14, 0.05.
    assert set(_choose(Sampling(temperature=1.0, min_p=0.2), draws=500)) == {0, 1, 2}
    assert set(_choose(Sampling(temperature=1.0, min_p=1.0), draws=50)) == {0}


def test_draws_within_bounds_are_always_tokens() -> None:
    """However large penalty and biases are together, and where all tokens are pushed away."""
    for penalty in (1 / LARGEST_PENALTY, LARGEST_PENALTY):
        for biases in (((0, LARGEST_BIAS), (1, -LARGEST_BIAS)), tuple((token, -LARGEST_BIAS) for token in range(5))):
            for restriction in ({}, {"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.1}):
                sampling = Sampling(temperature=1.0, repetition_penalty=penalty, logit_bias=biases, **restriction)
                check_sampling(sampling, len(LOGITS), "here")
                [token] = choose_tokens(LOGITS[None], [Chooser(sampling, (0, 1))]).tokens
                assert 0 <= token < len(LOGITS)


def test_repetition_penalty_and_bias_change_what_is_chosen() -> None:
    chooser = Chooser(Sampling(repetition_penalty=3.0), (0,))
    assert choose_tokens(LOGITS[None], [chooser]).tokens == [1]
    chooser.accept(1)
    # 2 / 3, 1 / 3, 0.5: the first is the likeliest again.
    assert choose_tokens(LOGITS[None], [chooser]).tokens == [0]
    assert choose_tokens(LOGITS[None], [Chooser(Sampling(logit_bias=((4, 9.0),)), ())]).tokens == [4]


def test_the_likeliest_tokens_are_reported_where_they_are_asked_for() -> None:
    chosen = choose_tokens(LOGITS.expand(2, -1), [Chooser(Sampling(top_logprobs=2), ()), Chooser(Sampling(), ())])
    expected = LOGITS.log_softmax(-1).tolist()
    assert [token for token, _ in chosen.tops[0]] == [0, 1]
    assert [logprob for _, logprob in chosen.tops[0]] == pytest.approx(expected[:2], abs=1e-6)
    assert chosen.tops[1] == ()


@given(st.lists(st.integers(-8, 8), min_size=3, max_size=60), st.integers(0, 6), st.floats(0.05, 1), st.floats(0, 1))
def test_restrictions_equal_a_plain_sort(logits: list[int], top_k: int, top_p: float, min_p: float) -> None:
    row = torch.tensor(logits, dtype=torch.float64) / 4
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    order = order[: top_k or None]
    likelihoods = row[order].softmax(-1).tolist()
    kept, reached = set(), 0.0
    for token, likelihood in zip(order, likelihoods, strict=True):
        # A boundary that lies on a rounding error is no case to decide.
        assume(abs(reached - top_p) > 1e-5)
        assume(abs(likelihood - min_p * likelihoods[0]) > 1e-5 or not min_p or token == order[0])
        if kept and reached >= top_p:
            break
        if likelihood >= min_p * likelihoods[0]:
            kept.add(token)
        reached += likelihood
    sampling = Sampling(temperature=1.0, top_k=top_k, top_p=top_p, min_p=min_p)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "RANKED_AT_FIRST", 2)
        allowed = choosing._allowed((row - row.max()).float()[None], [sampling])
    assert set(allowed[0].nonzero()[:, 0].tolist()) == kept


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_new_tokens=0),
        Sampling(temperature=-0.1),
        Sampling(temperature=math.nan),
        Sampling(temperature=math.inf),
        Sampling(top_k=-1),
        Sampling(top_p=0.0),
        Sampling(top_p=1.1),
        Sampling(stop_strings=("\n", "")),
        Sampling(min_p=-0.1),
        Sampling(repetition_penalty=0.0),
        Sampling(top_logprobs=21),
        Sampling(logit_bias=((300, 1.0),)),
        Sampling(logit_bias=((3, math.inf),)),
        Sampling(logit_bias=((3, math.nan),)),
        Sampling(logit_bias=((3, 1e39),)),
        Sampling(repetition_penalty=1e-300),
        Sampling(repetition_penalty=101.0),
    ],
)
def test_values_out_of_bounds_are_named(sampling: Sampling) -> None:
    changed = next(name for name, value in vars(sampling).items() if value != getattr(Sampling(), name))
    with pytest.raises(UsageError, match=rf"request 3: {changed} is .* Allowed: "):
        check_sampling(sampling, 300, "request 3")
