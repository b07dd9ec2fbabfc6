"""Choosing the next token: greedy, or drawn from the request's own random stream within its restrictions.

Shape letters: B rows, V vocabulary, R the likeliest tokens, C candidates left of a row.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from outcrop.core.completions import Sampling, TopLogprobs
from outcrop.core.errors import UsageError
from outcrop.core.seeds import derive

MOST_TOP_LOGPROBS = 20
LARGEST_PENALTY, LARGEST_BIAS = 100.0, 1e6
"""Beyond them logits would be no finite numbers any more, or their differences nothing but rounding."""
RANKED_AT_FIRST = 1024
"""So many of the likeliest tokens are sorted; all of them only where that does not reach top_p."""


def check_sampling(sampling: Sampling, vocabulary: int, where: str) -> None:
    """Raise UsageError for the first field that is out of its bounds."""
    most, vocabulary_words = MOST_TOP_LOGPROBS, f"token ids below {vocabulary}"
    strange = [(token, bias) for token, bias in sampling.logit_bias if not 0 <= token < vocabulary]
    endless = [(token, bias) for token, bias in sampling.logit_bias if not abs(bias) <= LARGEST_BIAS]
    penalty, least, largest = sampling.repetition_penalty, 1 / LARGEST_PENALTY, LARGEST_PENALTY
    bounds = (
        ("max_new_tokens", sampling.max_new_tokens, "at least 1", sampling.max_new_tokens >= 1),
        ("temperature", sampling.temperature, "0 (greedy) or more", 0 <= sampling.temperature < math.inf),
        ("top_k", sampling.top_k, "0 (all tokens) or more", sampling.top_k >= 0),
        ("top_p", sampling.top_p, "above 0 and at most 1", 0 < sampling.top_p <= 1),
        ("min_p", sampling.min_p, "0 to 1", 0 <= sampling.min_p <= 1),
        ("repetition_penalty", penalty, f"{least:g} to {largest:g}", least <= penalty <= largest),
        ("top_logprobs", sampling.top_logprobs, f"0 to {most}", 0 <= sampling.top_logprobs <= most),
        ("logit_bias", strange, vocabulary_words, not strange),
        ("logit_bias", endless, f"numbers from -{LARGEST_BIAS:g} to {LARGEST_BIAS:g}", not endless),
        ("stop_strings", sampling.stop_strings, "strings that are not empty", all(sampling.stop_strings)),
    )  # fmt: skip
    for name, given, allowed, holds in bounds:
        if not holds:
            raise UsageError(f"{name} is {given!r}.", f"Allowed: {allowed}.", where)


class DrawStream:
    """Uniform numbers of one request, from its seed alone: neighbours in the batch do not matter."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(derive(seed, "sampling"))

    def draw(self) -> float:
        """The next number in [0, 1 - 2**-52], so that its product with a total is below the total after rounding."""
        return self._random.getrandbits(52) / 2**52


class Grammar(Protocol):
    """What may follow, by a constraint."""

    def forbid(self, logits_V: Tensor) -> None:
        """Set the logits of the tokens that may not follow to -inf."""
        ...

    def accept(self, token: int) -> None:
        """Go on to what may follow this token."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing may follow."""
        ...


class Chooser:
    """How one answer's tokens are chosen, and what of its past that depends on."""

    def __init__(self, sampling: Sampling, prompt_ids: Sequence[int], grammar: Grammar | None = None) -> None:
        self.sampling, self.grammar = sampling, grammar
        self.stream = DrawStream(sampling.seed)
        self._seen = set(prompt_ids) if sampling.repetition_penalty != 1 else None

    @property
    def changes_logits(self) -> bool:
        """Whether `change` does anything."""
        return bool(self._seen is not None or self.sampling.logit_bias or self.grammar)

    def change(self, logits_V: Tensor) -> None:
        """Penalise, bias and forbid, in place."""
        if self._seen:
            seen = torch.tensor(sorted(self._seen), device=logits_V.device)
            logits, penalty = logits_V[seen], self.sampling.repetition_penalty
            logits_V[seen] = torch.where(logits < 0, logits * penalty, logits / penalty)
        for token, bias in self.sampling.logit_bias:
            logits_V[token] += bias
        if self.grammar is not None:
            self.grammar.forbid(logits_V)

    def accept(self, token: int) -> None:
        """Remember a chosen token."""
        if self._seen is not None:
            self._seen.add(token)
        if self.grammar is not None:
            self.grammar.accept(token)


class Chosen(NamedTuple):
    """A token per row, its natural log-probability under the untempered, unrestricted model, the likeliest tokens
    where they were asked for, and whether the logits were finite numbers."""

    tokens: list[int]
    logprobs: list[float]
    tops: list[TopLogprobs]
    finite: list[bool]


def choose_tokens(logits_BV: Tensor, choosers: Sequence[Chooser]) -> Chosen:
    """Choose in fp32."""
    logits_BV = logits_BV.float()
    normaliser_B = logits_BV.logsumexp(-1)
    wanted_BV = logits_BV
    if any(chooser.changes_logits for chooser in choosers):
        wanted_BV = logits_BV.clone()
        for row, chooser in enumerate(choosers):
            if chooser.changes_logits:
                chooser.change(wanted_BV[row])
    tokens_B = wanted_BV.argmax(-1)
    finite_B = torch.isfinite(normaliser_B)
    if wanted_BV is not logits_BV:
        finite_B &= torch.isfinite(wanted_BV.amax(-1))  # a form may leave no token
    finite = finite_B.tolist()
    drawn = [row for row, chooser in enumerate(choosers) if chooser.sampling.temperature > 0 and finite[row]]
    if drawn:
        index = torch.tensor(drawn, device=logits_BV.device)
        tokens_B[index] = _draw(wanted_BV[index], [choosers[row] for row in drawn])
    logprobs_B = logits_BV.gather(-1, tokens_B[:, None])[:, 0] - normaliser_B
    return Chosen(tokens_B.tolist(), logprobs_B.tolist(), _tops(logits_BV, normaliser_B, choosers), finite)


def _tops(logits_BV: Tensor, normaliser_B: Tensor, choosers: Sequence[Chooser]) -> list[TopLogprobs]:
    most = max((chooser.sampling.top_logprobs for chooser in choosers), default=0)
    if not most:
        return [()] * len(choosers)
    values, ids = logits_BV.topk(min(most, logits_BV.shape[-1]), dim=-1)
    found = []
    rows = zip(ids.tolist(), (values - normaliser_B[:, None]).tolist(), choosers, strict=True)
    for tokens, logprobs, chooser in rows:
        possible = [pair for pair in zip(tokens, logprobs, strict=True) if pair[1] > -math.inf]
        found.append(tuple(possible[: chooser.sampling.top_logprobs]))
    return found


def _draw(logits_BV: Tensor, choosers: Sequence[Chooser]) -> Tensor:
    samplings = [chooser.sampling for chooser in choosers]
    draws_B1 = _column([chooser.stream.draw() for chooser in choosers], logits_BV)
    temperature_B1 = _column([sampling.temperature for sampling in samplings], logits_BV)
    # The largest logit becomes 0, so that a temperature near 0 ends in the greedy token and not in NaN.
    scaled_BV = ((logits_BV - logits_BV.amax(-1, keepdim=True)) / temperature_B1).float()
    if not all(sampling.top_k or sampling.top_p < 1 or sampling.min_p for sampling in samplings):
        return _draw_by_id(scaled_BV.masked_fill(~_allowed(scaled_BV, samplings), -math.inf), draws_B1)
    allowed_BV = _allowed(scaled_BV, samplings)
    counts = allowed_BV.sum(-1).tolist()
    ids_BC = pad_sequence(list(allowed_BV.nonzero()[:, 1].split(counts)), batch_first=True)
    logits_BC = pad_sequence(list(scaled_BV[allowed_BV].split(counts)), batch_first=True, padding_value=-math.inf)
    return ids_BC.gather(-1, _draw_by_id(logits_BC, draws_B1)[:, None])[:, 0]


def _draw_by_id(logits_BV: Tensor, draws_B1: Tensor) -> Tensor:
    """Summed in the order of ids, not of ranks: rounding that swaps two equal tokens cannot change the draw."""
    summed_BV = logits_BV.softmax(-1).double().cumsum(-1)
    return torch.searchsorted(summed_BV, draws_B1 * summed_BV[:, -1:], right=True)[:, 0]


def _allowed(scaled_BV: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """Which tokens are left by top_k, by top_p among those, and by min_p; of equal tokens those with low ids."""
    smallest_B1 = _column([math.log(s.min_p) if s.min_p else -math.inf for s in samplings], scaled_BV)
    allowed_BV = (scaled_BV >= smallest_B1) & (scaled_BV > -math.inf)
    ranked = [row for row, sampling in enumerate(samplings) if sampling.top_k or sampling.top_p < 1]
    if ranked:
        index = torch.tensor(ranked, device=scaled_BV.device)
        allowed_BV[index] &= _likeliest(scaled_BV[index], [samplings[row] for row in ranked])
    return allowed_BV


def _likeliest(scaled_BV: Tensor, samplings: Sequence[Sampling], ranked_tokens: int = RANKED_AT_FIRST) -> Tensor:
    """The k likeliest tokens, and of those the fewest whose probability reaches p."""
    vocabulary = scaled_BV.shape[-1]
    size = min(vocabulary, max(ranked_tokens, *(sampling.top_k for sampling in samplings)))
    top_k_B1 = _column([sampling.top_k or math.inf for sampling in samplings], scaled_BV)
    top_p_B1 = _column([sampling.top_p if sampling.top_p < 1 else math.inf for sampling in samplings], scaled_BV)
    ranked_BR = scaled_BV.topk(size, dim=-1).values
    ranks_R = torch.arange(size, device=scaled_BV.device)
    ranked_BR = ranked_BR.masked_fill(ranks_R >= top_k_B1, -math.inf)
    total_B1 = torch.where(
        torch.isinf(top_k_B1), scaled_BV.logsumexp(-1, keepdim=True), ranked_BR.logsumexp(-1, keepdim=True)
    )
    shares_BR = (ranked_BR - total_B1).exp()
    kept_BR = ((shares_BR.cumsum(-1) - shares_BR < top_p_B1) | (ranks_R == 0)) & (ranked_BR > -math.inf)
    counts_B1 = kept_BR.sum(-1, keepdim=True)
    if size < vocabulary and bool(((counts_B1 == size) & torch.isinf(top_k_B1)).any()):
        return _likeliest(scaled_BV, samplings, vocabulary)
    last_B1 = ranked_BR.gather(-1, counts_B1 - 1)
    equal_BV = scaled_BV == last_B1
    above_B1 = (ranked_BR > last_B1).sum(-1, keepdim=True)
    return (scaled_BV > last_B1) | (equal_BV & (equal_BV.cumsum(-1) <= counts_B1 - above_B1))


def _column(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)[:, None]
