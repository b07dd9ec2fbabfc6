"""The likeliest candidate is the one with the highest score, found with less work."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.core.completions import CompletionRequest, Sampling, Score, ScoreRequest
from outcrop.core.errors import UsageError
from outcrop.generation.choosing import branches, likeliest, weigh
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from tests.support.tiny import tiny_model, tiny_tokenizer

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple)


def _scores(steps: dict[tuple[int, ...], float], request: ScoreRequest) -> list[Score]:
    """By log-probabilities that depend on the whole beginning."""
    made = []
    for candidate in request.candidates:
        each = tuple(steps[candidate[: end + 1]] for end in range(len(candidate)))
        made.append(Score(sum(each), len(each), each))
    return made


@given(st.lists(TOKENS, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_it_is_the_first_of_the_highest(candidates: list[tuple[int, ...]], chance: random.Random) -> None:
    steps = {c[: end + 1]: -float(chance.randint(0, 3)) for c in candidates for end in range(len(c))}
    request = ScoreRequest((1,), tuple(candidates))
    scores = [each.logprob for each in _scores(steps, request)]
    found = likeliest(lambda asked: [_scores(steps, each) for each in asked], [request, request])
    assert found == [scores.index(max(scores))] * 2


LABELS = [(first, second, 0) for first in range(4) for second in range(3)]


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([0.5, 1.0, 2.0]))
def test_what_is_weighed_is_exact_for_the_share_that_was_asked_for(seed: int, kept: float, temperature: float) -> None:
    chance = np.random.default_rng(seed)
    first, rest = chance.dirichlet([0.2] * 4), chance.dirichlet([0.2] * 4, 4)[:, :3]  # a fourth may follow, unasked
    steps = {(a,): math.log(first[a] + 1e-30) for a in range(4)}
    steps |= {(a, b): math.log(rest[a, b] + 1e-30) for a in range(4) for b in range(3)}
    steps |= dict.fromkeys(LABELS, 0.0)
    request = ScoreRequest((1,), tuple(LABELS))
    truth = np.array([each.logprob for each in _scores(steps, request)])
    (found,) = weigh(lambda asked: [_scores(steps, each) for each in asked], [request], kept, temperature)
    exact, masses = np.isclose(found, truth), np.exp((found - found.max()) / temperature)
    assert found.argmax() == truth.argmax()
    assert exact[truth.argmax()]
    assert masses[exact].sum() >= kept * masses.sum() - 1e-9
    estimated = np.exp((found - found.max()) / temperature).reshape(4, 3).sum(1)
    assert (estimated >= np.exp((truth - found.max()) / temperature).reshape(4, 3).max(1) * 0.999 / 3).all()


@given(st.lists(TOKENS, min_size=1, max_size=8))
def test_branches_hold_each_candidate_once_under_its_own_beginning(candidates: list[tuple[int, ...]]) -> None:
    plan = branches(tuple(candidates))
    members = [(*whole, *longer) for whole, longer in zip(plan.whole, plan.longer, strict=True)]
    assert sorted(index for each in members for index in each) == list(range(len(candidates)))
    for head, each in zip(plan.heads, members, strict=True):
        assert all(candidates[index][: len(head)] == head for index in each)
    assert len(plan.heads) > 1 or len(set(candidates)) == 1


def test_an_engine_that_is_sure_finds_what_its_scores_say_and_computes_less() -> None:
    model = tiny_model()
    model.model.norm.weight.data *= 30
    plain, quick = (EmbeddedEngine(model, tiny_tokenizer(), Capacity(slots=4)) for _ in range(2))
    chance = random.Random(0)
    prompts = [tuple(chance.choices(range(5, 60), k=8)) for _ in range(20)]
    written = plain.complete([CompletionRequest(prompt, Sampling(max_new_tokens=4)) for prompt in prompts])
    labels = [each.token_ids for each in written]
    labels += [(*label[:2], *chance.choices(range(5, 60), k=4)) for label in labels for _ in range(3)]
    requests = [ScoreRequest(prompt, tuple(labels)) for prompt in prompts]
    before = plain.scheduler.computed_tokens
    scores = [[each.logprob for each in of_request] for of_request in plain.score(requests)]
    assert quick.likeliest(requests) == [each.index(max(each)) for each in scores]
    assert quick.scheduler.computed_tokens < (plain.scheduler.computed_tokens - before) / 3


def test_what_cannot_be_scored_is_refused() -> None:
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    with pytest.raises(UsageError):
        engine.likeliest([ScoreRequest((), ((5, 6), (7,)))])
    with pytest.raises(UsageError):
        engine.likeliest([ScoreRequest((5,), ((5, 6), ()))])
    assert engine.likeliest([]) == []


def test_candidates_that_differ_at_once_and_end_there_need_one_look() -> None:
    looks = []

    def score(asked: Sequence[ScoreRequest]) -> list[list[Score]]:
        looks.append(len(asked))
        return [[Score(-float(c[-1]), 1, (-float(c[-1]),)) for c in each.candidates] for each in asked]

    assert likeliest(score, [ScoreRequest((1,), ((2, 9), (2, 3), (2, 5)))]) == [1]
    assert looks == [1]
