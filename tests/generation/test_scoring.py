"""Scores: equal to one plain forward pass per candidate, each node of a trie computed once."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from outcrop.core.completions import Score, ScoreRequest
from outcrop.core.errors import ModelError, UsageError
from outcrop.generation import scheduling, scoring
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from outcrop.generation.scoring import Trie, group_candidates
from tests.generation.models import sliding_model
from tests.support.tiny import tiny_model, tiny_tokenizer

Candidates = tuple[tuple[int, ...], ...]


def _naive(model: PreTrainedModel, prompt: Sequence[int], candidate: Sequence[int]) -> list[float]:
    with torch.no_grad():
        logprobs = model(torch.tensor([[*prompt, *candidate]])).logits[0].float().log_softmax(-1)
    return [logprobs[len(prompt) - 1 + at, token].item() for at, token in enumerate(candidate)]


def _candidates(stream: random.Random, count: int) -> Candidates:
    """Few different tokens, so that many candidates share a beginning, are equal or begin another."""
    return tuple(tuple(stream.choices((7, 8, 9), k=stream.randint(1, 6))) for _ in range(count))


def _requests(seed: int = 0) -> list[ScoreRequest]:
    stream = random.Random(seed)
    prompts = [tuple(stream.choices(range(300), k=stream.randint(1, 40))) for _ in range(8)]
    same = _candidates(stream, 12)
    return [ScoreRequest(prompt, same if at % 2 else _candidates(stream, at + 1)) for at, prompt in enumerate(prompts)]


def _assert_naive(model: PreTrainedModel, requests: Sequence[ScoreRequest], scores: Sequence[list[Score]]) -> None:
    for request, of_request in zip(requests, scores, strict=True):
        for candidate, score in zip(request.candidates, of_request, strict=True):
            assert score.token_logprobs == pytest.approx(_naive(model, request.prompt_ids, candidate), abs=1e-4)
            assert score.logprob == pytest.approx(sum(score.token_logprobs), abs=1e-6)
            assert score.tokens == len(candidate)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("batch_tokens", [1, 100, 8192])
def test_scores_equal_a_plain_forward_pass(attention: str, batch_tokens: int) -> None:
    model = tiny_model(attn_implementation=attention)
    engine = EmbeddedEngine(model, tiny_tokenizer(), Capacity(batch_tokens=batch_tokens))
    _assert_naive(model, _requests(), engine.score(_requests()))


def test_scores_do_not_depend_on_groups_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    monkeypatch.setattr(scoring, "GROUP_NODES", 4)
    monkeypatch.setattr(scheduling, "LOGITS_AT_ONCE", 300 * 8)
    _assert_naive(model, _requests(), EmbeddedEngine(model, tiny_tokenizer()).score(_requests()))


def test_scores_are_exact_inside_and_beyond_a_sliding_window() -> None:
    model = sliding_model(window=24)
    _assert_naive(
        model, _requests(), EmbeddedEngine(model, tiny_tokenizer(), Capacity(chunk_tokens=64)).score(_requests())
    )


def test_every_node_is_computed_once() -> None:
    model = tiny_model()
    prompt = tuple(range(10, 30))
    candidates = ((1, 2, 3), (1, 2, 4), (1, 5), (6,), (1, 2, 3))
    engine = EmbeddedEngine(model, tiny_tokenizer())
    engine.score([ScoreRequest(prompt, candidates)])
    assert engine.scheduler.computed_tokens == len(prompt) + len({(1,), (1, 2)})


def test_a_few_shot_prefix_is_computed_once_for_all_requests() -> None:
    model = tiny_model()
    shots = tuple(random.Random(0).choices(range(300), k=60))
    requests = [ScoreRequest((*shots, at, at + 1), ((7, 8), (9,))) for at in range(10)]
    engine = EmbeddedEngine(model, tiny_tokenizer())
    scores = engine.score(requests)
    assert engine.scheduler.computed_tokens == 60 + 10 * 2 + 10
    _assert_naive(model, requests, scores)


def test_likelihoods_of_all_tokens_sum_to_one() -> None:
    request = ScoreRequest((5, 6), tuple((token,) for token in range(300)))
    [scores] = EmbeddedEngine(tiny_model(), tiny_tokenizer()).score([request])
    assert torch.tensor([score.logprob for score in scores]).exp().sum().item() == pytest.approx(1, abs=1e-5)


LISTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple), min_size=1, max_size=12)


@given(LISTS)
def test_paths_spell_their_candidates_and_nodes_are_the_proper_beginnings(candidates: list[tuple[int, ...]]) -> None:
    trie = Trie.of(candidates)
    assert [tuple(trie.edges[edge].token for edge in path) for path in trie.paths] == candidates
    beginnings = {candidate[:end] for candidate in candidates for end in range(1, len(candidate))}
    assert len(trie.nodes) == len(beginnings)
    assert len(trie.edges) == len({candidate[:end] for candidate in candidates for end in range(1, len(candidate) + 1)})
    for node, depth in enumerate(trie.depths):
        assert trie.ancestors_NN[node].sum() == depth + 1
        assert not trie.ancestors_NN[node, node + 1 :].any()


@given(LISTS)
def test_groups_hold_every_candidate_once_and_not_too_many_nodes(candidates: list[tuple[int, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "GROUP_NODES", 3)
        groups = group_candidates(candidates)
    assert sorted(at for group in groups for at in group) == list(range(len(candidates)))
    tries = [Trie.of([candidates[at] for at in group]) for group in groups]
    assert all(len(group) == 1 or len(trie.nodes) <= 3 for group, trie in zip(groups, tries, strict=True))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ScoreRequest((5,), ()), "score request 0: There are no candidates"),
        (ScoreRequest((5,), ((6,), ())), "score request 0, candidate 1: A candidate has no tokens"),
        (ScoreRequest((), ((6,),)), "score request 0: The prompt has no tokens"),
        (ScoreRequest((5,), ((300,),)), "candidate 0: Token id 300 is not in the model's vocabulary of 300 tokens"),
        (ScoreRequest((5,) * 250, ((6,), (6,) * 7)), "250 tokens; with 7 more the model's context of 256 tokens"),
    ],
)
def test_requests_that_cannot_be_scored_are_named(request_: ScoreRequest, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EmbeddedEngine(tiny_model(), tiny_tokenizer()).score([request_])


def test_the_whole_context_can_be_scored() -> None:
    model = tiny_model()
    requests = [ScoreRequest((5,) * 250, ((6,) * 6,))]
    _assert_naive(model, requests, EmbeddedEngine(model, tiny_tokenizer()).score(requests))


def test_a_broken_model_is_refused() -> None:
    model = tiny_model()
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        EmbeddedEngine(model, tiny_tokenizer()).score([ScoreRequest((5,), ((6,),))])


@pytest.mark.gpu
def test_scores_on_a_gpu_equal_those_on_the_cpu() -> None:
    model = tiny_model()
    scores = EmbeddedEngine(tiny_model().cuda(), tiny_tokenizer()).score(_requests())
    _assert_naive(model, _requests(), scores)
