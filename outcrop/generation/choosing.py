"""Which of many candidates is likely, without scoring all of them: a beginning is never less likely than what follows.

That bound makes the search for the likeliest exact (branch and bound): candidates are scored only while their beginning
is likelier than the best whole candidate found; and it says how much is missed of all of them together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.core.completions import Score, ScoreRequest

Scorer = Callable[[Sequence[ScoreRequest]], list[list[Score]]]
Candidates = tuple[tuple[int, ...], ...]


def shares(logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each candidate's share of all candidates' likelihood, along the last axis: the softmax of log-likelihoods."""
    masses: NDArray[np.float64] = np.exp(logprobs - logprobs.max(-1, keepdims=True))
    return masses / masses.sum(-1, keepdims=True)


class Branches(NamedTuple):
    """Candidates by the first token in which they differ. heads: each beginning up to that token; whole, longer:
    indices of the candidates that are that beginning, and of those that go on after it."""

    heads: Candidates
    whole: tuple[tuple[int, ...], ...]
    longer: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=64)
def branches(candidates: Candidates) -> Branches:
    """Rows of a data set mostly have the same candidates."""
    shared = 0
    while len({candidate[: shared + 1] for candidate in candidates}) == 1 and shared < min(map(len, candidates)):
        shared += 1
    found: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, candidate in enumerate(candidates):
        found[candidate[: shared + 1]].append(index)
    whole = [tuple(at for at in members if candidates[at] == head) for head, members in found.items()]
    longer = [tuple(at for at in members if candidates[at] != head) for head, members in found.items()]
    return Branches(tuple(found), tuple(whole), tuple(longer))


def likeliest(score: Scorer, requests: Sequence[ScoreRequest]) -> list[int]:
    """For each request the index of the candidate with the highest log-likelihood, the first of equals."""
    return [int(values.argmax()) for values in weigh(score, requests)]


def weigh(
    score: Scorer, requests: Sequence[ScoreRequest], kept: float = 0.0, temperature: float = 1.0
) -> list[NDArray[np.float64]]:
    """The log-likelihoods of each request's candidates: exact for the likeliest, and for as many others as it takes to
    have the share `kept` of all of them together, likelihoods taken to the power 1 / temperature. Of the rest nothing
    is computed but how likely their beginnings are, of which each gets an equal part.
    """
    plans = [branches(request.candidates) for request in requests]
    heads = score([replace(request, candidates=plan.heads) for request, plan in zip(requests, plans, strict=True)])
    rows = [
        _Row(plan, np.array([each.logprob for each in scores]), kept, temperature)
        for scores, plan in zip(heads, plans, strict=True)
    ]
    wanted = [row.first() for row in rows]
    while any(wanted):
        _look(score, requests, rows, wanted)
        wanted = [row.next() for row in rows]
    return [row.values for row in rows]


class _Row:
    """What is known of one request's candidates. values: log-likelihoods, exact or estimated; closed: beginnings whose
    candidates have not been looked at, the likeliest first."""

    def __init__(self, plan: Branches, bounds: NDArray[np.float64], kept: float, temperature: float) -> None:
        self.plan, self.bounds = plan, bounds
        self._kept, self._temperature = kept, temperature
        size = sum(map(len, plan.whole)) + sum(map(len, plan.longer))
        self.values, self._exact = np.full(size, -math.inf), np.zeros(size, np.bool_)
        for head, (whole, longer) in enumerate(zip(plan.whole, plan.longer, strict=True)):
            self.learn(whole, [bounds[head]] * len(whole))
            self.values[list(longer)] = bounds[head] - math.log(max(1, len(longer)))
        self.closed = sorted((h for h, longer in enumerate(plan.longer) if longer), key=lambda h: -bounds[h])

    def learn(self, candidates: Sequence[int], logprobs: Sequence[float]) -> None:
        """Take exact values."""
        self.values[list(candidates)], self._exact[list(candidates)] = logprobs, True

    def first(self) -> list[int]:
        """The beginnings to look behind at first: the likeliest, if a candidate there can be the best."""
        best = self.values[self._exact].max(initial=-math.inf)
        return self._take([head for head in self.closed[:1] if self.bounds[head] >= best])

    def next(self) -> list[int]:
        """Those behind which the best could still be."""
        best = self.values[self._exact].max(initial=-math.inf)
        return self._take([head for head in self.closed if self.bounds[head] >= best])

    def _take(self, heads: list[int]) -> list[int]:
        """These, and those without which too large a share would be estimated."""
        masses = np.exp((self.values - self.values.max()) / self._temperature)
        unknown = {head: float(masses[list(self.plan.longer[head])].sum()) for head in self.closed if head not in heads}
        left, total = sum(unknown.values()), float(masses.sum())
        for head in sorted(unknown, key=unknown.__getitem__, reverse=True):
            if left <= (1 - self._kept) * total:
                break
            heads.append(head)
            left -= unknown[head]
        self.closed = [head for head in self.closed if head not in heads]
        return heads


def _look(
    score: Scorer, requests: Sequence[ScoreRequest], rows: Sequence[_Row], wanted: Sequence[Sequence[int]]
) -> None:
    """Score what is behind the wanted beginnings of each row."""
    opened = {
        number: [index for head in heads for index in rows[number].plan.longer[head]]
        for number, heads in enumerate(wanted)
        if heads
    }
    asked = [
        replace(requests[number], candidates=tuple(requests[number].candidates[index] for index in indices))
        for number, indices in opened.items()
    ]
    for (number, indices), scores in zip(opened.items(), score(asked), strict=True):
        rows[number].learn(indices, [each.logprob for each in scores])
