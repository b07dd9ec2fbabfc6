"""The embedded engine: what transformers' own generate says, whatever the batch, and text that ends where it should."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from outcrop.core.completions import Completion, CompletionRequest, Generator, Sampling
from outcrop.core.errors import ModelError, UsageError
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from tests.generation.models import absolute_model, scripted_model, sliding_model
from tests.support.tiny import tiny_model, tiny_tokenizer

STORIES = Path(__file__).resolve().parents[3] / "shared" / "models" / "stories260K"


def _prompts(count: int = 12, longest: int = 40, seed: int = 0) -> list[tuple[int, ...]]:
    stream = random.Random(seed)
    return [tuple(stream.choices(range(4, 300), k=stream.randint(1, longest))) for _ in range(count)]


def _requests(prompts: Sequence[tuple[int, ...]], seed: int = 1) -> list[CompletionRequest]:
    """Different lengths of answers, so that rows leave the batch at different times."""
    stream = random.Random(seed)
    return [CompletionRequest(prompt, Sampling(max_new_tokens=stream.randint(1, 24))) for prompt in prompts]


def _generate(model: PreTrainedModel, request: CompletionRequest) -> list[int]:
    prompt = torch.tensor([request.prompt_ids])
    output = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=request.sampling.max_new_tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    return output[0, len(request.prompt_ids) :].tolist()


def _assert_same(completions: Sequence[Completion], others: Sequence[Completion]) -> None:
    for completion, other in zip(completions, others, strict=True):
        assert completion.token_ids == other.token_ids
        assert completion.text == other.text
        assert completion.finish_reason == other.finish_reason
        assert completion.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def _encode(text: str) -> tuple[int, ...]:
    return tuple(tiny_tokenizer()(text, add_special_tokens=False).input_ids)


def _scripted(text: str, prompt: str = "my card") -> tuple[EmbeddedEngine, tuple[int, ...], tuple[int, ...]]:
    """An engine that answers the prompt with the text; the ids of the prompt and of the text."""
    prompt_ids, script = _encode(prompt), _encode(text)
    return EmbeddedEngine(scripted_model(len(prompt_ids), script), tiny_tokenizer()), prompt_ids, script


MODELS = {
    "llama": tiny_model,
    "llama, eager": lambda: tiny_model(attn_implementation="eager"),
    "sliding window": lambda: sliding_model(window=12),
    "learned positions": absolute_model,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_tokens", [1, 150, 8192])
def test_greedy_answers_equal_generate_in_any_batch(name: str, batch_tokens: int) -> None:
    model = MODELS[name]()
    requests = _requests(_prompts())
    completions = EmbeddedEngine(model, tiny_tokenizer(), Capacity(batch_tokens=batch_tokens)).complete(requests)
    assert [list(completion.token_ids) for completion in completions] == [_generate(model, one) for one in requests]


def test_log_probabilities_are_those_of_a_plain_forward_pass() -> None:
    model = tiny_model()
    requests = _requests(_prompts())
    for request, completion in zip(requests, EmbeddedEngine(model, tiny_tokenizer()).complete(requests), strict=True):
        whole = [*request.prompt_ids, *completion.token_ids]
        with torch.no_grad():
            logprobs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        expected = [logprobs[at - 1, whole[at]].item() for at in range(len(request.prompt_ids), len(whole))]
        assert completion.logprobs == pytest.approx(expected, abs=1e-4)
        assert completion.prompt_tokens == len(request.prompt_ids)
        assert completion.seconds > 0


@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=16), Sampling(max_new_tokens=16, temperature=1, seed=5)])
def test_a_shared_prefix_is_computed_once_and_changes_nothing(sampling: Sampling) -> None:
    model = tiny_model()
    shots = _prompts(count=1, longest=1)[0] * 10 + tuple(range(50, 100))
    requests = [CompletionRequest((*shots, *prompt), sampling) for prompt in _prompts(longest=12)]
    engine = EmbeddedEngine(model, tiny_tokenizer())
    completions = engine.complete(requests)
    assert sum(completion.cached_tokens for completion in completions) >= 11 * 60
    _assert_same(completions, [engine.complete([request])[0] for request in requests])


def test_a_prefix_is_shared_under_a_sliding_window() -> None:
    model = sliding_model(window=70)
    requests = [
        CompletionRequest((*range(50, 100), *prompt), Sampling(max_new_tokens=30)) for prompt in _prompts(longest=12)
    ]
    completions = EmbeddedEngine(model, tiny_tokenizer()).complete(requests)
    assert [list(completion.token_ids) for completion in completions] == [_generate(model, one) for one in requests]


def test_forgotten_prompts_are_computed_again() -> None:
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    request = CompletionRequest((5,) * 30, Sampling(max_new_tokens=1))
    first, second = engine.complete([request])[0], engine.complete([request])[0]
    engine.forget_prompts()
    third = engine.complete([request])[0]
    assert [each.cached_tokens for each in (first, second, third)] == [0, 29, 0]
    assert first.token_ids == second.token_ids == third.token_ids


def test_no_token_is_computed_twice_and_none_for_finished_rows() -> None:
    requests = [CompletionRequest((5, 6), Sampling(max_new_tokens=size)) for size in (1, 2, 3, 20)]
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    engine.complete(requests)
    assert engine.scheduler.computed_tokens == 4 * 2 + 1 + 2 + 19
    assert engine.scheduler.idle


def test_samples_depend_on_their_seed_and_not_on_their_neighbours() -> None:
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    requests = [
        CompletionRequest(prompt, Sampling(max_new_tokens=12, temperature=1.5, top_k=at % 3 * 20, top_p=0.9, seed=at))
        for at, prompt in enumerate(_prompts())
    ]
    together = engine.complete(requests)
    _assert_same(together, engine.complete(requests))
    _assert_same(together, [engine.complete([request])[0] for request in requests])
    _assert_same(together, list(reversed(engine.complete(requests[::-1]))))
    seeds = [CompletionRequest((5, 6), Sampling(max_new_tokens=12, temperature=1.5, seed=seed)) for seed in range(8)]
    assert len({completion.token_ids for completion in engine.complete(seeds)}) == 8


def test_a_stop_id_ends_the_answer_and_leaves_no_text() -> None:
    engine, prompt, script = _scripted(" has arrived")
    stop = _encode(" has arrived yet")[-1]
    engine = EmbeddedEngine(scripted_model(len(prompt), (*script, stop, 5)), tiny_tokenizer())
    [completion] = engine.complete([CompletionRequest(prompt, Sampling(stop_ids=(stop,)))])
    assert completion.text == " has arrived"
    assert completion.token_ids == (*script, stop)
    assert completion.finish_reason == "stop"


@pytest.mark.parametrize(
    ("stops", "expected"),
    [
        (("rived",), " has ar"),
        (("yet", "s arr"), " ha"),
        ((" has",), ""),
        (("\n\n",), " has arrived\nyet 😀!"),
        (("😀",), " has arrived\nyet "),
    ],
)
def test_stop_strings_cut_the_text_wherever_tokens_end(stops: tuple[str, ...], expected: str) -> None:
    text = " has arrived\nyet 😀!"
    engine, prompt, script = _scripted(text)
    sampling = Sampling(max_new_tokens=len(script), stop_strings=stops)
    [completion] = engine.complete([CompletionRequest(prompt, sampling)])
    assert completion.text == expected == "".join(engine.stream(CompletionRequest(prompt, sampling)))
    assert completion.finish_reason == ("stop" if expected != text else "length")
    assert completion.token_ids == script[: len(completion.token_ids)]
    if expected != text:
        decoded = tiny_tokenizer().decode(list(completion.token_ids))
        assert any(stop in decoded for stop in stops)


def test_streams_never_split_a_character_or_show_a_stop_string() -> None:
    engine, prompt, script = _scripted(" 你好, grüße 😀 STOP never")
    deltas = list(engine.stream(CompletionRequest(prompt, Sampling(len(script), stop_strings=(" STOP",)))))
    assert "".join(deltas) == " 你好, grüße 😀"
    assert len(deltas) > 5
    assert not any("\ufffd" in delta or "S" in delta for delta in deltas)


def test_a_character_cut_by_the_length_is_marked() -> None:
    engine, prompt, script = _scripted("a你")
    [completion] = engine.complete([CompletionRequest(prompt, Sampling(max_new_tokens=len(script) - 1))])
    assert completion.text == "a\ufffd"
    assert completion.finish_reason == "length"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_streamed_text_is_the_completed_text(temperature: float) -> None:
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    for prompt in _prompts(count=4):
        request = CompletionRequest(prompt, Sampling(max_new_tokens=40, temperature=temperature, stop_strings=("zz",)))
        assert "".join(engine.stream(request)) == engine.complete([request])[0].text


def test_the_context_bounds_the_answer() -> None:
    engine = EmbeddedEngine(absolute_model(), tiny_tokenizer())
    requests = [CompletionRequest((5,) * size, Sampling(max_new_tokens=100)) for size in (63, 60, 2)]
    completions = engine.complete(requests)
    assert [len(completion.token_ids) for completion in completions] == [1, 4, 62]
    assert {completion.finish_reason for completion in completions} == {"length"}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (CompletionRequest((5,) * 256), "The prompt has 256 tokens; with 1 more the model's context of 256 tokens"),
        (CompletionRequest(()), "The prompt has no tokens"),
        (CompletionRequest((5, 300)), "Token id 300 is not in the model's vocabulary of 300 tokens"),
        (CompletionRequest((-1, 5)), "Token id -1 is not"),
        (CompletionRequest((5,), Sampling(top_p=2)), "top_p is 2"),
    ],
)
def test_requests_that_cannot_be_answered_are_named_at_once(request_: CompletionRequest, message: str) -> None:
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    with pytest.raises(UsageError, match=f"completion request 1: {message}"):
        engine.complete([CompletionRequest((5,)), request_])
    with pytest.raises(UsageError, match=message):
        engine.stream(request_)


def test_a_stream_that_is_left_does_not_disturb_the_others() -> None:
    engine = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    requests = [CompletionRequest(prompt, Sampling(max_new_tokens=40)) for prompt in _prompts(count=3)]
    expected = [completion.text for completion in engine.complete(requests)]
    streams = [engine.stream(request) for request in requests]
    begun = [next(stream) for stream in streams]
    streams[0].close()  # type: ignore[attr-defined]
    assert len(engine.scheduler.rows) == 2
    assert [text + "".join(stream) for text, stream in zip(begun[1:], streams[1:], strict=True)] == expected[1:]
    assert engine.scheduler.idle


def test_a_model_in_training_answers_without_dropout_and_goes_on_training() -> None:
    model = tiny_model(attention_dropout=0.5).train()
    requests = _requests(_prompts(count=3))
    engine = EmbeddedEngine(model, tiny_tokenizer())
    _assert_same(engine.complete(requests), EmbeddedEngine(tiny_model(), tiny_tokenizer()).complete(requests))
    stream = engine.stream(requests[0])
    next(stream)
    assert all(module.training for module in model.modules())
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    model(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_model_in_half_precision_answers_in_its_own_dtype() -> None:
    model = tiny_model().to(torch.bfloat16)
    completions = EmbeddedEngine(model, tiny_tokenizer()).complete(_requests(_prompts()))
    assert all(len(completion.token_ids) == len(completion.logprobs) > 0 for completion in completions)
    assert model.dtype == torch.bfloat16


def test_a_broken_model_is_refused() -> None:
    model = tiny_model()
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        EmbeddedEngine(model, tiny_tokenizer()).complete([CompletionRequest((5,))])


def test_the_engine_is_a_generator_and_no_request_is_no_work() -> None:
    engine: Generator = EmbeddedEngine(tiny_model(), tiny_tokenizer())
    assert engine.complete([]) == []
    assert engine.score([]) == []
    with pytest.raises(UsageError, match="batch_tokens is 0"):
        EmbeddedEngine(tiny_model(), tiny_tokenizer(), Capacity(batch_tokens=0))


@pytest.mark.skipif(not STORIES.is_dir(), reason="the model stories260K is not beside the repository")
@pytest.mark.parametrize(
    ("prompt", "beginning", "end"),
    [
        (
            "",
            "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, ",
            "Her mom said, \"Don't worry, Lily. We can help you.",
        ),
        ("Lily and her dog", ", Max, who lived in a big house. They liked to play with their toys and seek.", ""),
        (
            "Zoo",
            " was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball.",
            "",
        ),
    ],
)
def test_a_real_model_writes_its_published_sample(prompt: str, beginning: str, end: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(STORIES)
    engine = EmbeddedEngine(AutoModelForCausalLM.from_pretrained(STORIES), tokenizer)
    ids = tuple(tokenizer(prompt).input_ids) or (tokenizer.bos_token_id,)
    request = CompletionRequest(ids, Sampling(max_new_tokens=256))
    [completion] = engine.complete([request])
    assert completion.text.startswith(beginning)
    assert end in completion.text
    assert "".join(engine.stream(request)) == completion.text


@pytest.mark.gpu
def test_answers_on_a_gpu_equal_those_on_the_cpu() -> None:
    requests = _requests(_prompts())
    on_gpu = EmbeddedEngine(tiny_model().cuda(), tiny_tokenizer()).complete(requests)
    _assert_same(on_gpu, EmbeddedEngine(tiny_model(), tiny_tokenizer()).complete(requests))
