"""The serving engine: many callers at once get what each would get alone, and what they leave is freed."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from outcrop.core.completions import CompletionRequest, Sampling, ScoreRequest
from outcrop.core.engines import Engine, ModelRef, TokenEvent
from outcrop.core.errors import ModelError, Unavailable, UsageError
from outcrop.generation import serving
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from outcrop.generation.serving import ServingEngine, open_engine
from outcrop.models.loading import load_model
from tests.generation.adapters import write_adapter
from tests.generation.models import sliding_model
from tests.models.folders import edit
from tests.support.tiny import tiny_model, tiny_tokenizer

WAIT_S = 60.0


@asynccontextmanager
async def _serving(base: str, capacity: Capacity | None = None, most_waiting: int = 64) -> AsyncIterator[ServingEngine]:
    engine = ServingEngine(capacity, most_waiting=most_waiting)
    await engine.load(ModelRef(base, "float32"))
    try:
        yield engine
    finally:
        await engine.close()


def _run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), WAIT_S))


async def _events(engine: Engine, request: CompletionRequest) -> list[TokenEvent]:
    return [event async for event in engine.generate(request)]


def _requests(count: int = 12) -> list[CompletionRequest]:
    stream = random.Random(0)
    return [
        CompletionRequest(
            tuple(stream.choices(range(4, 300), k=stream.randint(1, 40))),
            Sampling(max_new_tokens=stream.randint(1, 20), temperature=at % 2, seed=at, stop_strings=("zz",)),
        )
        for at in range(count)
    ]


async def _settled(engine: ServingEngine) -> None:
    while (await engine.stats()).running or (await engine.stats()).waiting:
        await asyncio.sleep(0.01)


def test_in_half_precision_late_positions_are_where_they_were(tmp_path: Path) -> None:
    """Frequencies of angles that are rounded to 8 bits turn position 200 by another angle."""
    base = str(tmp_path)
    sliding_model(256).save_pretrained(base)
    edit(tmp_path / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 2.0})  # all turn quickly
    tiny_tokenizer().save_pretrained(base)
    ids, candidate = tuple(4 + at * 37 % 290 for at in range(200)), (5, 6, 7)
    with torch.inference_mode():
        logits = load_model(base, dtype=torch.bfloat16).model(torch.tensor([[*ids, *candidate]])).logits[0]
    expected = logits.float().log_softmax(-1)[range(199, 202), candidate]
    score = open_engine(ModelRef(base, "bfloat16"), Capacity()).score([ScoreRequest(ids, (candidate,))])[0][0]
    assert score.token_logprobs == pytest.approx(expected.tolist(), abs=0.1)


def test_callers_at_once_get_what_each_gets_alone(base: str) -> None:
    async def test() -> None:
        async with _serving(base, Capacity(slots=5)) as engine:
            requests = _requests()
            answers = await asyncio.gather(*(_events(engine, request) for request in requests))
            alone = EmbeddedEngine(tiny_model(), tiny_tokenizer())
            for request, events in zip(requests, answers, strict=True):
                [expected] = alone.complete([request])
                assert tuple(token for event in events for token in event.token_ids) == expected.token_ids
                assert "".join(event.text for event in events) == expected.text
                assert [e.finish_reason for e in events] == [None] * (len(events) - 1) + [expected.finish_reason]
                usage = events[-1].usage
                assert usage is not None
                assert usage.prompt_tokens == len(request.prompt_ids)
                assert usage.completion_tokens == len(expected.token_ids)

    _run(test)


def test_n_answers_come_with_their_numbers(base: str) -> None:
    async def test() -> None:
        async with _serving(base) as engine:
            request = CompletionRequest((5, 6, 7), Sampling(max_new_tokens=6, temperature=1.0, seed=3), n=3)
            events = await _events(engine, request)
            texts = ["".join(event.text for event in events if event.index == index) for index in range(3)]
            expected = EmbeddedEngine(tiny_model(), tiny_tokenizer()).complete([request])
            assert texts == [completion.text for completion in expected]
            assert len({completion.token_ids for completion in expected}) == 3

    _run(test)


def test_a_caller_that_leaves_frees_the_slot(base: str) -> None:
    async def test() -> None:
        async with _serving(base, Capacity(slots=1)) as engine:
            stream = engine.generate(CompletionRequest((5, 6), Sampling(max_new_tokens=200)))
            await anext(stream)
            waiting = asyncio.create_task(_events(engine, CompletionRequest((7,), Sampling(max_new_tokens=200))))
            await asyncio.sleep(0)
            waiting.cancel()
            await stream.aclose()
            await _settled(engine)
            assert (await engine.stats()).used_tokens == 0
            assert len(await _events(engine, CompletionRequest((5,), Sampling(max_new_tokens=2)))) == 2

    _run(test)


def test_too_many_are_refused_at_once_and_the_others_finish(base: str) -> None:
    async def test() -> None:
        async with _serving(base, Capacity(slots=1), most_waiting=1) as engine:
            request = CompletionRequest((5, 6), Sampling(max_new_tokens=100))
            found = await asyncio.gather(*(_events(engine, request) for _ in range(5)), return_exceptions=True)
            refused = [each for each in found if isinstance(each, Unavailable)]
            assert len(refused) == 3
            assert "at most 2 may" in str(refused[0])
            assert [len(each) for each in found if isinstance(each, list)] == [100, 100]

    _run(test)


def test_scores_health_stats_and_drain(base: str) -> None:
    async def test() -> None:
        async with _serving(base) as engine:
            request = ScoreRequest((5, 6), ((7, 8), (9,)))
            found = await engine.score(request)
            [expected] = EmbeddedEngine(tiny_model(), tiny_tokenizer()).score([request])
            assert [score.logprob for score in found] == pytest.approx([score.logprob for score in expected], abs=1e-5)
            assert (await engine.health(WAIT_S)).ready
            assert not (await engine.health(0.0)).ready
            running = asyncio.create_task(_events(engine, CompletionRequest((5,), Sampling(max_new_tokens=30))))
            await asyncio.sleep(0)
            assert await engine.drain(WAIT_S)
            assert len(await running) == 30
            with pytest.raises(Unavailable, match="stopping"):
                await _events(engine, CompletionRequest((5,)))
            stats = await engine.stats()
            assert stats.running == stats.waiting == 0
            assert stats.generated_tokens >= 31
        assert not (await engine.health(1.0)).alive
        with pytest.raises(Unavailable, match="no model"):
            await engine.stats()

    _run(test)


def test_a_loop_that_hangs_is_not_alive_and_one_that_fails_goes_on(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with _serving(base) as engine:
            hang, hung, step = threading.Event(), threading.Event(), EmbeddedEngine.step
            request = CompletionRequest((5,), Sampling(max_new_tokens=3))

            def hanging(self: EmbeddedEngine) -> None:
                hung.set()
                assert hang.wait(WAIT_S)
                step(self)

            with monkeypatch.context() as patch:
                patch.setattr(serving, "OLDEST_TICK_S", 0.05)
                patch.setattr(EmbeddedEngine, "step", hanging)
                asked = asyncio.create_task(_events(engine, request))
                await asyncio.to_thread(hung.wait, WAIT_S)
                await asyncio.sleep(0.1)
                health = await engine.health(WAIT_S)
                assert not health.alive
                assert "has not turned" in health.reason
                hang.set()
                assert len(await asked) == 3
            with monkeypatch.context() as patch:
                patch.setattr(engine._open_engine().trunk, "logits", lambda *_: 1 / 0)
                health = await engine.health(WAIT_S)
                assert health.alive
                assert not health.ready
                assert "ZeroDivisionError" in health.reason
            assert (await engine.health(WAIT_S)).ready
            assert len(await _events(engine, request)) == 3

    _run(test)


def test_a_dedicated_adapter_is_merged(base: str, tmp_path: Path) -> None:
    ref = write_adapter(tmp_path / "adapter", Path(base), tiny_model(), seed=1)
    merged = open_engine(ModelRef(ref.name, "float32"), Capacity())
    assert merged.scheduler.adapters.digests == ()
    shared = open_engine(ModelRef(base, "float32"), Capacity())
    shared.add_adapter(ref)
    for request in _requests():
        [one] = merged.complete([request])
        [other] = shared.complete([replace(request, adapter=ref.digest)])
        assert one.token_ids == other.token_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


CYCLES = """
import asyncio, gc, os, sys
from pathlib import Path
from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.core.engines import AdapterRef, ModelRef
from outcrop.generation.serving import ServingEngine

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

async def cycle(base, adapter):
    engine = ServingEngine()
    await engine.load(ModelRef(base, "float32"))
    await engine.add_adapter(adapter)
    for digest in (adapter.digest, None):
        request = CompletionRequest((5,) * 40, Sampling(max_new_tokens=2), adapter=digest)
        assert [event async for event in engine.generate(request)]
    await engine.remove_adapter(adapter.digest)
    await engine.close()

async def cycles():
    base, adapter = sys.argv[1], AdapterRef(*sys.argv[2:])
    for _ in range(100):
        await cycle(base, adapter)
    before = resident()
    for _ in range(500):
        await cycle(base, adapter)
    print(resident() - before)

asyncio.run(cycles())
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_loading_and_unloading_models_and_adapters_500_times_does_not_grow_memory(base: str, tmp_path: Path) -> None:
    ref = write_adapter(tmp_path / "adapter", Path(base), tiny_model(), seed=1)
    command = [sys.executable, "-c", CYCLES, base, ref.name, ref.digest]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 8 << 20


def test_adapters_come_and_go_while_others_are_answered(base: str, tmp_path: Path) -> None:
    async def test() -> None:
        ref = write_adapter(tmp_path / "adapter", Path(base), tiny_model(), seed=1)
        async with _serving(base) as engine:
            other = asyncio.create_task(_events(engine, CompletionRequest((5,), Sampling(max_new_tokens=60))))
            await engine.add_adapter(ref)
            assert (await engine.stats()).adapters == (ref.digest,)
            stream = engine.generate(CompletionRequest((5,), Sampling(max_new_tokens=8), adapter=ref.digest))
            first = await anext(stream)
            removing = asyncio.create_task(engine.remove_adapter(ref.digest))
            rest = [event async for event in stream]
            assert len([first, *rest]) == 8
            await removing
            with pytest.raises(UsageError, match="is not loaded"):
                await _events(engine, CompletionRequest((5,), adapter=ref.digest))
            assert len(await other) == 60

    _run(test)


def test_what_cannot_be_answered_is_refused(base: str, tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(ModelError, match="no model folder"):
            await ServingEngine().load(ModelRef(str(tmp_path / "absent")))
        async with _serving(base) as engine:
            with pytest.raises(UsageError, match="has a model already"):
                await engine.load(ModelRef(base))
            with pytest.raises(UsageError, match="The prompt has no tokens"):
                await _events(engine, CompletionRequest(()))
            with pytest.raises(UsageError, match="There are no candidates"):
                await engine.score(ScoreRequest((5,), ()))

    _run(test)


def test_closing_fails_what_still_runs(base: str) -> None:
    async def test() -> None:
        engine = ServingEngine()
        await engine.load(ModelRef(base, "float32"))
        running = asyncio.create_task(_events(engine, CompletionRequest((5,), Sampling(max_new_tokens=250))))
        await asyncio.sleep(0.01)
        await engine.close()
        with pytest.raises(Unavailable, match="was closed"):
            await running

    _run(test)
