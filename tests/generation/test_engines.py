"""What every engine promises, asked of all of them: embedded, vLLM's client on a stand-in, and vLLM where it is."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.completions import Completion, CompletionRequest, Constraint, Sampling, ScoreRequest
from outcrop.core.engines import AdapterRef, TokenEvent
from outcrop.core.errors import ModelError, OutcropError, Unavailable, UsageError
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.models.loading import load_model
from tests.generation.adapters import write_adapter
from tests.generation.serving_engines import (
    RANK,
    SLOTS,
    VLLM_KINDS,
    WAIT_S,
    WAITING,
    Running,
    all_events,
    first_events,
    model,
    running,
    settled,
)
from tests.support.tiny import tiny_tokenizer

NEAR = 2e-4
KINDS = ["embedded", *VLLM_KINDS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("engines") / "base"
    model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=KINDS)
def served(request: pytest.FixtureRequest, base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(request.param, base, tmp_path_factory.mktemp("engine")) as found:
        yield found


@pytest.fixture(scope="module")
def reference(base: str) -> EmbeddedEngine:
    return EmbeddedEngine(model(), tiny_tokenizer())


def _answers(events: Sequence[TokenEvent], index: int = 0) -> dict[str, Any]:
    mine = [event for event in events if event.index == index]
    return {
        "token_ids": tuple(token for event in mine for token in event.token_ids),
        "logprobs": tuple(logprob for event in mine for logprob in event.logprobs),
        "text": "".join(event.text for event in mine),
        "top_logprobs": tuple(top for event in mine for top in event.top_logprobs),
        "finish_reason": mine[-1].finish_reason,
    }


def _assert_equal(events: Sequence[TokenEvent], expected: Completion) -> None:
    found = _answers(events)
    assert found["token_ids"] == expected.token_ids
    assert found["text"] == expected.text
    assert found["finish_reason"] == expected.finish_reason
    assert found["logprobs"] == pytest.approx(expected.logprobs, abs=NEAR)
    usage = events[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (expected.prompt_tokens, len(expected.token_ids))
    assert [event.finish_reason for event in events[:-1]] == [None] * (len(events) - 1)


def _requests(count: int = 6) -> list[CompletionRequest]:
    stream = random.Random(0)
    prompts = [tuple(stream.choices(range(4, 300), k=stream.randint(1, 40))) for _ in range(count)]
    return [CompletionRequest(prompt, Sampling(max_new_tokens=stream.randint(1, 12))) for prompt in prompts]


def test_greedy_answers_of_callers_at_once_are_those_of_each_alone(served: Running, reference: EmbeddedEngine) -> None:
    async def at_once() -> list[list[TokenEvent]]:
        return await asyncio.gather(*(all_events(served.engine, request) for request in _requests()))

    for request, events in zip(_requests(), served.wait(at_once()), strict=True):
        [expected] = reference.complete([request])
        _assert_equal(events, expected)
        _assert_equal(served.events(request), expected)


def test_answers_end_as_asked(served: Running, reference: EmbeddedEngine) -> None:
    prompt = (50, 60, 70, 80)
    [free] = reference.complete([CompletionRequest(prompt, Sampling(max_new_tokens=20))])
    stop = next(token for at, token in enumerate(free.token_ids) if at >= 3 and token not in free.token_ids[:at])
    inside = next(char for at, char in enumerate(free.text) if at >= 3 and char not in free.text[:at] + "\ufffd")
    for sampling in (
        Sampling(max_new_tokens=20),
        Sampling(max_new_tokens=20, stop_ids=(stop,)),
        Sampling(max_new_tokens=20, stop_strings=("never", inside)),
    ):
        [expected] = reference.complete([CompletionRequest(prompt, sampling)])
        _assert_equal(served.events(CompletionRequest(prompt, sampling)), expected)


def test_the_end_of_text_ends_nothing_that_did_not_ask_for_it(served: Running) -> None:
    end = tiny_tokenizer().eos_token_id
    request = CompletionRequest((50,), Sampling(max_new_tokens=4, logit_bias=((end, 100.0),)))
    found = _answers(served.events(request))
    assert found["token_ids"] == (end,) * 4
    assert found["text"] == ""
    stopped = replace(request, sampling=replace(request.sampling, stop_ids=(end,)))
    assert _answers(served.events(stopped))["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_new_tokens=8, repetition_penalty=1.7),
        Sampling(max_new_tokens=8, logit_bias=((7, 3.0), (9, -50.0))),
        Sampling(max_new_tokens=8, temperature=1.0, min_p=1.0),
        Sampling(max_new_tokens=8, temperature=1.0, top_k=1),
        Sampling(max_new_tokens=8, temperature=1.0, top_p=1e-6),
    ],
    ids=["repetition_penalty", "logit_bias", "min_p", "top_k", "top_p"],
)
def test_fields_of_sampling_have_their_effect(served: Running, reference: EmbeddedEngine, sampling: Sampling) -> None:
    request = CompletionRequest((90, 91, 92, 90, 91, 92), sampling)
    _assert_equal(served.events(request), reference.complete([request])[0])


def test_seeds_repeat_answers_and_differ_between_them(served: Running) -> None:
    request = CompletionRequest((5, 6, 7), Sampling(max_new_tokens=8, temperature=1.5, seed=3), n=3)
    first, second = served.events(request), served.events(request)
    texts = [_answers(first, index)["token_ids"] for index in range(3)]
    assert texts == [_answers(second, index)["token_ids"] for index in range(3)]
    assert len(set(texts)) == 3
    other = replace(request, sampling=replace(request.sampling, seed=4))
    assert _answers(served.events(other))["token_ids"] != texts[0]


def test_the_likeliest_tokens_are_told(served: Running, reference: EmbeddedEngine) -> None:
    request = CompletionRequest((20, 21), Sampling(max_new_tokens=4, temperature=1.5, seed=1, top_logprobs=3))
    found = _answers(served.events(request))
    [scores] = reference.score([ScoreRequest((20, 21), (found["token_ids"],))])
    assert found["logprobs"] == pytest.approx(scores[0].token_logprobs, abs=NEAR)
    for at, top in enumerate(found["top_logprobs"]):
        prompt = (20, 21, *found["token_ids"][:at])
        [greedy] = reference.complete([CompletionRequest(prompt, Sampling(max_new_tokens=1, top_logprobs=3))])
        assert [token for token, _ in top] == [token for token, _ in greedy.top_logprobs[0]]
        assert [each for _, each in top] == pytest.approx([each for _, each in greedy.top_logprobs[0]], abs=NEAR)


@pytest.mark.parametrize(
    ("constraint", "fits"),
    [
        (Constraint("regex", "[a-c]{3}x"), lambda text: re.fullmatch("[a-c]{3}x", text)),
        (Constraint("choice", json.dumps(["card", "refund"])), lambda text: text in ("card", "refund")),
        (
            Constraint(
                "json_schema",
                json.dumps(
                    {
                        "type": "object",
                        "properties": {"ok": {"type": "boolean"}},
                        "required": ["ok"],
                        "additionalProperties": False,
                    }
                ),
            ),
            lambda text: json.loads(text) in ({"ok": True}, {"ok": False}),
        ),
    ],
    ids=["regex", "choice", "json_schema"],
)
def test_constraints_are_kept(served: Running, constraint: Constraint, fits: Any) -> None:
    found = _answers(served.events(CompletionRequest((5,), Sampling(max_new_tokens=60, constraint=constraint))))
    assert fits(found["text"]), found["text"]
    assert found["finish_reason"] == "stop"


def test_scores_equal_those_of_the_whole_text(served: Running, reference: EmbeddedEngine) -> None:
    requests = [
        ScoreRequest((5, 6, 7), ((8,), (9,), (10,))),
        ScoreRequest((5, 6, 7), ((8, 9), (8, 10), (8, 9, 11), (12,))),
        ScoreRequest((5,) * 250, ((7, 8, 9, 10, 11, 12), (7,))),
    ]
    for request, expected in zip(requests, reference.score(requests), strict=True):
        found = served.wait(served.engine.score(request))
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.token_logprobs == pytest.approx(theirs.token_logprobs, abs=NEAR)
            assert mine.logprob == pytest.approx(theirs.logprob, abs=6 * NEAR)
            assert mine.tokens == theirs.tokens


def test_adapters_are_served_beside_each_other_and_the_base(
    request: pytest.FixtureRequest, served: Running, base: str, tmp_path: Path, reference: EmbeddedEngine
) -> None:
    # vLLM for CPUs (0.32) gives rows of the base the adapter of its last slot when both are in one batch.
    beside = [None] if request.node.callspec.params["served"] != "vllm" else []
    refs = [write_adapter(tmp_path / f"a{seed}", Path(base), model(), seed=seed, rank=8) for seed in (1, 2)]
    merged = [EmbeddedEngine(load_model(ref.name).model, tiny_tokenizer()) for ref in refs]
    for ref in (*refs, refs[0]):
        served.wait(served.engine.add_adapter(ref))
    assert set(served.wait(served.engine.stats()).adapters) == {ref.digest for ref in refs}
    for file in Path(refs[0].name).glob("*.safetensors"):
        file.write_bytes(b"")  # what was loaded is what is served

    question = CompletionRequest((40, 41, 42), Sampling(max_new_tokens=8))

    async def mixed() -> list[list[TokenEvent]]:
        digests = [refs[0].digest, refs[1].digest, *beside]
        return await asyncio.gather(*(all_events(served.engine, replace(question, adapter=each)) for each in digests))

    found = [_answers(events)["token_ids"] for events in served.wait(mixed())]
    if not beside:
        found.append(_answers(served.events(question))["token_ids"])
    plain = [question]
    assert found == [engine.complete(plain)[0].token_ids for engine in (*merged, reference)]
    assert len(set(found)) == 3
    [score] = served.wait(served.engine.score(ScoreRequest((40,), ((41, 42),), refs[1].digest)))
    assert score.logprob == pytest.approx(merged[1].score([ScoreRequest((40,), ((41, 42),))])[0][0].logprob, abs=NEAR)
    for ref in refs:
        served.wait(served.engine.remove_adapter(ref.digest))
        with pytest.raises(UsageError, match="is not loaded"):
            served.events(CompletionRequest((5,), adapter=ref.digest))
        with pytest.raises(UsageError, match="is not loaded"):
            served.wait(served.engine.remove_adapter(ref.digest))
    assert served.wait(served.engine.stats()).adapters == ()


def test_adapters_that_would_not_do_what_they_say_are_refused(served: Running, base: str, tmp_path: Path) -> None:
    good = write_adapter(tmp_path / "good", Path(base), model(), seed=1, rank=4)
    idle = write_adapter(tmp_path / "idle", Path(base), model(), seed=1, rank=4, size=0.0)
    other = tmp_path / "other-base"
    stranger = model()
    stranger.lm_head.weight.data += 1
    stranger.save_pretrained(other)
    tiny_tokenizer().save_pretrained(other)
    foreign = write_adapter(tmp_path / "foreign", other, model(), seed=1, rank=4)
    for ref, message in (
        (AdapterRef(good.name, idle.digest), "digest is"),
        (idle, "changes nothing"),
        (foreign, "another base model"),
        (AdapterRef(base, good.digest), "a whole model"),
        (AdapterRef(str(tmp_path / "absent"), good.digest), "no model folder"),
    ):
        with pytest.raises(ModelError, match=message):
            served.wait(served.engine.add_adapter(ref))
    assert served.wait(served.engine.stats()).adapters == ()


def test_a_caller_that_leaves_frees_its_place(served: Running) -> None:
    async def leave(tokens: int) -> None:
        stream = served.engine.generate(CompletionRequest((5, 6), Sampling(max_new_tokens=240), n=SLOTS))
        await first_events(stream, tokens)
        await stream.aclose()  # type: ignore[attr-defined]
        await settled(served.engine)

    async def be_cancelled() -> None:
        request = CompletionRequest((5, 6), Sampling(max_new_tokens=240))
        callers = [asyncio.create_task(all_events(served.engine, request)) for _ in range(2 * SLOTS)]
        await asyncio.sleep(0.02)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        await settled(served.engine)

    for tokens in (1, 5):
        served.wait(leave(tokens))
    served.wait(be_cancelled())
    assert len(_answers(served.events(CompletionRequest((5,), Sampling(max_new_tokens=3))))["token_ids"]) == 3


def test_too_many_are_refused_at_once(served: Running) -> None:
    bound = SLOTS + WAITING

    async def crowd() -> list[Any]:
        request = CompletionRequest((5, 6), Sampling(max_new_tokens=20))
        callers = (all_events(served.engine, request) for _ in range(bound + 3))
        return await asyncio.gather(*callers, return_exceptions=True)

    found = served.wait(crowd())
    refused = [each for each in found if isinstance(each, Unavailable)]
    assert len(refused) == 3
    assert f"at most {bound} may" in str(refused[0])
    assert [len(_answers(each)["token_ids"]) for each in found if isinstance(each, list)] == [20] * bound


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (CompletionRequest(()), "The prompt has no tokens"),
        (CompletionRequest((5,) * 256), "The prompt has 256 tokens"),
        (CompletionRequest((5, 300)), "Token id 300 is not in the model's vocabulary"),
        (CompletionRequest((5,), Sampling(top_p=2)), "top_p is 2"),
        (CompletionRequest((5,), Sampling(top_logprobs=21)), "top_logprobs is 21"),
        (CompletionRequest((5,), n=0), "n is 0"),
        (CompletionRequest((5,), adapter="sha256:none"), "is not loaded"),
        (CompletionRequest((5,), Sampling(constraint=Constraint("regex", "("))), "The regex cannot be followed"),
    ],
)
def test_what_cannot_be_answered_is_refused(served: Running, request_: CompletionRequest, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        served.events(request_)


def test_scores_that_cannot_be_made_are_refused(served: Running) -> None:
    for request, message in (
        (ScoreRequest((5,), ()), "no candidates"),
        (ScoreRequest((5,), ((),)), "A candidate has no tokens"),
        (ScoreRequest((5,) * 250, ((7,) * 7,)), "context"),
        (ScoreRequest((5,), ((6,),), "sha256:none"), "is not loaded"),
    ):
        with pytest.raises(UsageError, match=message):
            served.wait(served.engine.score(request))


def test_stats_and_health_tell_what_is(served: Running) -> None:
    before = served.wait(served.engine.stats())
    served.events(CompletionRequest((5, 6), Sampling(max_new_tokens=7)))
    after = served.wait(served.engine.stats())
    assert (after.running, after.waiting, after.slots) == (0, 0, SLOTS)
    assert after.generated_tokens - before.generated_tokens == 7
    assert 0 < after.computed_tokens - before.computed_tokens <= 9
    assert after.budget_tokens > after.used_tokens >= 0
    assert after.tokens_per_s > 0
    assert served.wait(served.engine.health(WAIT_S)).ready
    assert not served.wait(served.engine.health(0.0)).ready


def test_draining_finishes_what_runs_and_closing_is_final(
    request: pytest.FixtureRequest, served: Running, base: str, tmp_path: Path
) -> None:
    kind = request.node.callspec.params["served"]
    with running(kind, base, tmp_path) as own:

        async def drain() -> None:
            caller = asyncio.create_task(all_events(own.engine, CompletionRequest((5,), Sampling(max_new_tokens=30))))
            await asyncio.sleep(0.01)
            assert await own.engine.drain(WAIT_S)
            assert len(_answers(await caller)["token_ids"]) == 30
            with pytest.raises(Unavailable, match="stopping"):
                await all_events(own.engine, CompletionRequest((5,)))

        own.wait(drain())
        with pytest.raises(UsageError, match="has a model already"):
            own.wait(own.engine.load(None))  # type: ignore[arg-type]
        own.wait(own.engine.close())
        assert not own.wait(own.engine.health(1.0)).alive
        with pytest.raises(OutcropError, match="no model"):
            own.wait(own.engine.stats())


def test_a_rank_that_the_engine_has_no_room_for_is_refused(
    request: pytest.FixtureRequest, served: Running, base: str, tmp_path: Path
) -> None:
    if request.node.callspec.params["served"] == "embedded":
        pytest.skip("the embedded engine takes every rank")
    ref = write_adapter(tmp_path / "wide", Path(base), model(), seed=1, rank=2 * RANK)
    with pytest.raises(ModelError, match=f"rank is {2 * RANK}; vLLM was started for {RANK}"):
        served.wait(served.engine.add_adapter(ref))
