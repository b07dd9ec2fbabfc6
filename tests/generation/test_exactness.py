"""Greedy tokens and scores equal transformers' own for every architecture, whichever way it is computed."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from outcrop.core.completions import CompletionRequest, Sampling, ScoreRequest
from outcrop.generation.decoder import Decoder
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.modules import Modules
from outcrop.generation.replay import Replay
from outcrop.generation.trunk import open_trunk
from tests.support.families import EXACT, REFUSED, family
from tests.support.tiny import tiny_model, tiny_tokenizer

DECODED = {"gemma", "gemma2", "gemma3", "granite", "mistral", "qwen2", "qwen3", "smollm3"}
"""Families of tests/support whose layers the decoder knows; Llama is everywhere else."""
BY_MODULES = {"cohere", "gpt-neox", "gpt2", "granite, scaled", "mixtral", "olmo2", "opt", "phi", "phi3", "qwen2-moe"}
BY_REPLAY = {"bloom", "lfm2", "mamba", "stablelm"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral, window": ("mistral", {"sliding_window": 7}),
    "gemma2, window": ("gemma2", {"sliding_window": 7}),
    "gemma3, window": ("gemma3", {"sliding_window": 7}),
    "qwen3, window": ("qwen3", {"sliding_window": 7, "use_sliding_window": True, "max_window_layers": 1}),
    "qwen2, untied, wide": ("qwen2", {"tie_word_embeddings": False, "head_dim": 16}),
    "mixtral, window": ("mixtral", {"sliding_window": 7}),
}
NAMES = sorted(DECODED | BY_MODULES | BY_REPLAY | VARIANTS.keys())


def _model(name: str) -> Any:
    base, overrides = VARIANTS.get(name, (name, {}))
    return family(base, **overrides)


def _prompts(count: int = 6) -> list[tuple[int, ...]]:
    stream = random.Random(0)
    return [tuple(stream.choices(range(4, 300), k=stream.randint(1, 30))) for _ in range(count)]


def _generate(model: Any, request: CompletionRequest) -> list[int]:
    prompt = torch.tensor([request.prompt_ids])
    sampling = request.sampling
    output = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        repetition_penalty=sampling.repetition_penalty,
        eos_token_id=None,
        pad_token_id=0,
    )
    return output[0, len(request.prompt_ids) :].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_greedy_tokens_equal_generate(name: str) -> None:
    model = _model(name)
    requests = [CompletionRequest(prompt, Sampling(max_new_tokens=9)) for prompt in _prompts()]
    completions = EmbeddedEngine(model, tiny_tokenizer()).complete(requests)
    assert [list(completion.token_ids) for completion in completions] == [_generate(model, one) for one in requests]


@pytest.mark.parametrize("name", NAMES)
def test_scores_equal_a_forward_pass(name: str) -> None:
    model = _model(name)
    candidates = ((7, 8, 9), (7, 8, 10, 11), (12,), (7, 9))
    requests = [ScoreRequest(prompt, candidates) for prompt in _prompts(4)]
    for request, scores in zip(requests, EmbeddedEngine(model, tiny_tokenizer()).score(requests), strict=True):
        for candidate, score in zip(candidates, scores, strict=True):
            with torch.no_grad():
                logprobs = model(torch.tensor([[*request.prompt_ids, *candidate]])).logits[0].log_softmax(-1)
            start = len(request.prompt_ids) - 1
            expected = [logprobs[start + at, token].item() for at, token in enumerate(candidate)]
            assert score.token_logprobs == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", sorted(DECODED | BY_MODULES | BY_REPLAY))
def test_the_fastest_way_is_taken(name: str) -> None:
    expected = Decoder if name in DECODED else Modules if name in BY_MODULES else Replay
    assert isinstance(open_trunk(_model(name)), expected)


def test_every_family_is_here() -> None:
    assert (EXACT.keys() | REFUSED.keys()) <= set(NAMES)


@pytest.mark.parametrize(
    "overrides",
    [
        {"attention_bias": True, "mlp_bias": True},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1},
        {"head_dim": 16},
        {"tie_word_embeddings": True},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.0}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 2.0}},
        {"hidden_act": "gelu"},
    ],
    ids=str,
)
def test_variants_of_llama_equal_generate(overrides: dict[str, Any]) -> None:
    model = tiny_model(**{name: _frozen(value) for name, value in overrides.items()})
    assert isinstance(open_trunk(model), Decoder)
    requests = [CompletionRequest(prompt, Sampling(max_new_tokens=9)) for prompt in _prompts()]
    completions = EmbeddedEngine(model, tiny_tokenizer()).complete(requests)
    assert [list(completion.token_ids) for completion in completions] == [_generate(model, one) for one in requests]


def test_a_repetition_penalty_equals_generate() -> None:
    model = tiny_model()
    requests = [CompletionRequest(prompt, Sampling(max_new_tokens=20, repetition_penalty=1.3)) for prompt in _prompts()]
    completions = EmbeddedEngine(model, tiny_tokenizer()).complete(requests)
    assert [list(completion.token_ids) for completion in completions] == [_generate(model, one) for one in requests]


def _frozen(value: Any) -> Any:
    """tiny_model keeps its models by their fields, which must be hashable; transformers wants a dictionary."""
    return _Fields(value) if isinstance(value, dict) else value


class _Fields(dict):  # type: ignore[type-arg]
    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))
