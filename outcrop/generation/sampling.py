"""Choosing the next token: greedy, or drawn with temperature, top-k and top-p from the request's own random stream.

Shape letters: B rows, V vocabulary.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import torch

from outcrop.core.completions import Sampling
from outcrop.core.errors import UsageError
from outcrop.core.seeds import derive
from outcrop.generation.batching import finite


def check_sampling(sampling: Sampling, where: str) -> None:
    """Raise UsageError for the first field that is out of its bounds."""
    bounds = (
        ("max_new_tokens", sampling.max_new_tokens, "at least 1", sampling.max_new_tokens >= 1),
        ("temperature", sampling.temperature, "0 (greedy) or more", 0 <= sampling.temperature < math.inf),
        ("top_k", sampling.top_k, "0 (all tokens) or more", sampling.top_k >= 0),
        ("top_p", sampling.top_p, "above 0 and at most 1", 0 < sampling.top_p <= 1),
        ("stop_strings", sampling.stop_strings, "strings that are not empty", all(sampling.stop_strings)),
    )
    for name, given, allowed, holds in bounds:
        if not holds:
            raise UsageError(f"{name} is {given!r}.", f"Allowed: {allowed}.", where)


class DrawStream:
    """Uniform numbers of one request, from its seed alone: neighbours in the batch do not matter."""

    def __init__(self, sampling: Sampling) -> None:
        self._random = random.Random(derive(sampling.seed, "sampling"))

    def draw(self) -> float:
        """The next number in [0, 1 - 2**-52], so that its product with a total is below the total after rounding."""
        return self._random.getrandbits(52) / 2**52


class Chosen(NamedTuple):
    """One token per row, and its natural log-probability under the untempered, unrestricted model."""

    tokens_B: torch.Tensor
    logprobs_B: torch.Tensor


def choose_tokens(logits_BV: torch.Tensor, samplings: Sequence[Sampling], streams: Sequence[DrawStream]) -> Chosen:
    """Choose in fp32. Raises ModelError if the logits are not numbers."""
    logits_BV = logits_BV.float()
    normaliser_B = finite(logits_BV.logsumexp(-1))
    tokens_B = logits_BV.argmax(-1)
    drawn = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0]
    if drawn:
        index = torch.tensor(drawn, device=logits_BV.device)
        draws = [streams[row].draw() for row in drawn]
        tokens_B[index] = _draw(logits_BV[index], [samplings[row] for row in drawn], draws)
    return Chosen(tokens_B, logits_BV.gather(-1, tokens_B[:, None])[:, 0] - normaliser_B)


def _draw(logits_BV: torch.Tensor, samplings: Sequence[Sampling], draws: Sequence[float]) -> torch.Tensor:
    def column(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits_BV.device)[:, None]

    temperature_B1 = column([sampling.temperature for sampling in samplings])
    # The largest logit becomes 0, so that a temperature near 0 ends in the greedy token and not in NaN.
    scaled_BV = ((logits_BV - logits_BV.amax(-1, keepdim=True)) / temperature_B1).float()
    if any(sampling.top_k or sampling.top_p < 1 for sampling in samplings):
        top_k_B1 = column([sampling.top_k or math.inf for sampling in samplings])
        top_p_B1 = column([sampling.top_p if sampling.top_p < 1 else math.inf for sampling in samplings])
        scaled_BV = _restrict(scaled_BV, top_k_B1, top_p_B1)
    # Summed in the order of ids, not of ranks: rounding that swaps two equal tokens cannot change the draw.
    summed_BV = scaled_BV.softmax(-1).double().cumsum(-1)
    return torch.searchsorted(summed_BV, column(list(draws)) * summed_BV[:, -1:], right=True)[:, 0]


def _restrict(scaled_BV: torch.Tensor, top_k_B1: torch.Tensor, top_p_B1: torch.Tensor) -> torch.Tensor:
    """Remove all but the k likeliest tokens, then all but the fewest of those whose probability reaches p."""
    ranked_BV, order_BV = scaled_BV.sort(dim=-1, descending=True, stable=True)
    ranks_V = torch.arange(ranked_BV.shape[-1], device=scaled_BV.device)
    ranked_BV = ranked_BV.masked_fill(ranks_V >= top_k_B1, -math.inf)
    probabilities_BV = ranked_BV.softmax(-1)
    likelier_BV = probabilities_BV.cumsum(-1) - probabilities_BV
    ranked_BV = ranked_BV.masked_fill((likelier_BV >= top_p_B1) & (ranks_V > 0), -math.inf)
    return torch.empty_like(scaled_BV).scatter_(-1, order_BV, ranked_BV)
