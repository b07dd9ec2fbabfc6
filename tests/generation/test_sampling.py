"""Choosing tokens: the right distribution, the right restrictions, streams of their own."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from outcrop.core.completions import Sampling
from outcrop.core.errors import ModelError, UsageError
from outcrop.generation.sampling import DrawStream, check_sampling, choose_tokens

LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0])


def _choose(sampling: Sampling, draws: int = 1, logits: torch.Tensor = LOGITS) -> list[int]:
    """Tokens of `draws` rows with the same logits and seeds 0, 1, …"""
    samplings = [replace(sampling, seed=seed) for seed in range(draws)]
    streams = [DrawStream(one) for one in samplings]
    return choose_tokens(logits.expand(draws, -1), samplings, streams).tokens_B.tolist()


def _shares(tokens: list[int]) -> torch.Tensor:
    return torch.bincount(torch.tensor(tokens), minlength=len(LOGITS)) / len(tokens)


def test_temperature_zero_is_greedy_with_the_models_own_log_probability() -> None:
    chosen = choose_tokens(LOGITS[None], [Sampling()], [DrawStream(Sampling())])
    assert chosen.tokens_B.tolist() == [0]
    assert chosen.logprobs_B.item() == pytest.approx(LOGITS.log_softmax(-1)[0].item(), abs=1e-6)


def test_log_probabilities_are_untempered_and_unrestricted() -> None:
    sampling = Sampling(temperature=3.0, top_k=2, top_p=0.9)
    chosen = choose_tokens(LOGITS[None], [sampling], [DrawStream(sampling)])
    assert chosen.logprobs_B.item() == pytest.approx(LOGITS.log_softmax(-1)[chosen.tokens_B.item()].item(), abs=1e-6)


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
    chosen = choose_tokens(LOGITS.expand(3, -1), samplings, [DrawStream(one) for one in samplings])
    assert chosen.tokens_B.tolist() == [0, 0, 0]


def test_draws_stay_in_their_range_and_depend_on_the_seed() -> None:
    draws = [DrawStream(Sampling(seed=seed)).draw() for seed in range(1000)]
    assert all(0 <= draw <= 1 - 2**-52 for draw in draws)
    assert len(set(draws)) == 1000
    assert DrawStream(Sampling(seed=7)).draw() == draws[7]


def test_logits_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ModelError, match="not finite"):
        choose_tokens(torch.tensor([[math.nan, 0.0]]), [Sampling()], [DrawStream(Sampling())])


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
    ],
)
def test_values_out_of_bounds_are_named(sampling: Sampling) -> None:
    changed = next(name for name, value in vars(sampling).items() if value != getattr(Sampling(), name))
    with pytest.raises(UsageError, match=rf"request 3: {changed} is .* Allowed: "):
        check_sampling(sampling, "request 3")
