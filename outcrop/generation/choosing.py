"""The likeliest of many candidates without scoring all of them: a beginning is never less likely than what follows it.

That bound makes the search exact (branch and bound): candidates are scored only while their beginning is likelier than
the best whole candidate found.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from outcrop.core.completions import Score, ScoreRequest

Scorer = Callable[[Sequence[ScoreRequest]], list[list[Score]]]
Candidates = tuple[tuple[int, ...], ...]
NOTHING = (-math.inf, 0)
"""Log-likelihood and negative index of no candidate."""


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
    """For each request the index of the candidate with the highest log-likelihood, the first of equals.

    Beginnings are scored first, then what begins with the likeliest, then what could still be likelier.
    """
    plans = [branches(request.candidates) for request in requests]
    heads = score([replace(request, candidates=plan.heads) for request, plan in zip(requests, plans, strict=True)])
    bounds = [[each.logprob for each in scores] for scores in heads]
    first = [max(range(len(bound)), key=bound.__getitem__) for bound in bounds]
    best = [
        max(((bound, -at) for bound, ends in zip(of_row, plan.whole, strict=True) for at in ends), default=NOTHING)
        for of_row, plan in zip(bounds, plans, strict=True)
    ]
    _look(score, requests, [plan.longer[head] for plan, head in zip(plans, first, strict=True)], best)
    rest = [
        [
            at
            for head, bound in enumerate(bounds[row])
            if head != first[row] and bound >= best[row][0]
            for at in plan.longer[head]
        ]
        for row, plan in enumerate(plans)
    ]
    _look(score, requests, rest, best)
    return [-negative for _, negative in best]


def _look(
    score: Scorer, requests: Sequence[ScoreRequest], opened: Sequence[Sequence[int]], best: list[tuple[float, int]]
) -> None:
    """Score some candidates of each row, and note where one is better than the best so far."""
    rows = [row for row, indices in enumerate(opened) if indices]
    asked = [
        replace(requests[row], candidates=tuple(requests[row].candidates[index] for index in opened[row]))
        for row in rows
    ]
    for row, scores in zip(rows, score(asked) if asked else (), strict=True):
        found = ((each.logprob, -index) for each, index in zip(scores, opened[row], strict=True))
        best[row] = max(best[row], *found)
