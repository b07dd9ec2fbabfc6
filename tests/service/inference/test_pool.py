"""The pool: loaded once for all who wait, adapters on one base, what is idle makes room, what is used stays."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from outcrop.bodies.asks import Answer, Ask, whole
from outcrop.core.completions import Sampling
from outcrop.core.engines import Engine, Precision
from outcrop.core.errors import ModelError, NotReady, Unavailable, UsageError
from outcrop.models.folder import find_model, write_card
from outcrop.service.inference import pool as pools
from outcrop.service.inference.answering import Seat, pieces, prepare
from outcrop.service.inference.embedded import open_engine
from outcrop.service.inference.memory import footprint
from outcrop.service.inference.pool import Pool, PoolLimits
from outcrop.service.inference.reservations import Reservations
from outcrop.workflows.generate import generate
from tests.generation.adapters import write_adapter
from tests.generation.serving_engines import standin
from tests.support.tiny import tiny_model, tiny_tokenizer

WAIT_S = 60.0


class Opening:
    """Opens real engines when it may, and counts them."""

    def __init__(self) -> None:
        self.may, self.opened = asyncio.Event(), list[str]()

    async def __call__(self, name: str, precision: Precision, slots: int) -> Engine:
        self.opened.append(name)
        await self.may.wait()
        return await open_engine(name, precision, slots)


def _run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), WAIT_S))


def _limits(**given: float) -> PoolLimits:
    return PoolLimits(**{"memory_bytes": 2**30, "slots": 4, "patience_s": WAIT_S, **given})  # type: ignore[arg-type]


async def _answer(pool: Pool, model: str, prompt: str = "the card", **sampling: object) -> Answer:
    ask = Ask(prompt, Sampling(max_new_tokens=8, **sampling))  # type: ignore[arg-type]
    async with pool.use(model) as ready:
        prepared = await prepare(ready, ask)
        [found] = whole([piece async for piece in pieces(ready, prepared, Seat("me"))], 1)
    return found


def _copy(base: str, folder: Path, seed: int) -> str:
    tiny_model(seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def test_those_who_wait_for_one_model_load_it_once(base: str) -> None:
    async def test() -> None:
        opening = Opening()
        pool = Pool(_limits(), opening)
        asked = [asyncio.create_task(_answer(pool, base)) for _ in range(5)]
        await asyncio.sleep(0.01)
        opening.may.set()
        answers = await asyncio.gather(*asked)
        assert opening.opened == [base]
        assert {answer.text for answer in answers} == {generate(base, "the card", max_new_tokens=8).text}
        await pool.close()

    _run(test)


def test_while_it_is_loaded_the_model_is_not_ready_and_loading_goes_on(base: str) -> None:
    async def test() -> None:
        opening = Opening()
        pool = Pool(_limits(patience_s=0.0), opening)
        for _ in range(3):
            with pytest.raises(NotReady, match="being loaded"):
                await _answer(pool, base)
        opening.may.set()
        while True:
            try:
                await _answer(pool, base)
                break
            except NotReady:
                await asyncio.sleep(0.01)
        assert opening.opened == [base]
        await pool.close()
        with pytest.raises(Unavailable, match="stopping"):
            await _answer(pool, base)

    _run(test)


def test_adapters_share_their_base_and_answer_as_generate_does(base: str, tmp_path: Path) -> None:
    async def test() -> None:
        adapters = [write_adapter(tmp_path / f"a{seed}", Path(base), tiny_model(), seed=seed) for seed in (1, 2)]
        names = [base, *(ref.name for ref in adapters)]
        pool = Pool(_limits())
        answers = await asyncio.gather(*(_answer(pool, name) for name in names))
        assert len(pool.engines) == 1
        texts = [answer.text for answer in answers]
        assert texts == [generate(name, "the card", max_new_tokens=8).text for name in names]
        assert len(set(texts)) == 3
        await pool.close()

    _run(test)


def test_an_adapter_that_the_base_cannot_take_is_served_on_its_own(base: str, tmp_path: Path) -> None:
    async def test() -> None:
        without_effect = write_adapter(tmp_path / "same", Path(base), tiny_model(), seed=1, size=0.0)
        pool = Pool(_limits())
        assert (await _answer(pool, without_effect.name)).text == generate(base, "the card", max_new_tokens=8).text
        assert len(pool.engines) == 2
        await pool.close()

    _run(test)


def test_many_adapters_come_and_go(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MOST_ADAPTERS", 2)

    async def test() -> None:
        names = [write_adapter(tmp_path / f"a{n}", Path(base), tiny_model(), seed=n).name for n in range(1, 5)]
        pool = Pool(_limits())
        first = [await _answer(pool, name) for name in names]
        again = await asyncio.gather(*(_answer(pool, name) for name in names))
        assert [each.text for each in again] == [each.text for each in first]
        [loaded] = pool.engines
        await _answer(pool, write_adapter(tmp_path / "a5", Path(base), tiny_model(), seed=5).name)
        assert len(loaded.adapters) == len((await loaded.engine.stats()).adapters) == 2
        await pool.close()

    _run(test)


def test_idle_models_make_room_the_least_used_first_and_used_ones_stay(base: str, tmp_path: Path) -> None:
    async def test() -> None:
        models = [_copy(base, tmp_path / f"m{seed}", seed) for seed in range(3)]
        size = footprint(find_model(models[0]), "float32")
        pool = Pool(_limits(memory_bytes=2 * size))
        await _answer(pool, models[0])
        await _answer(pool, models[1])
        await _answer(pool, models[0])
        oldest = pool.engines[1]
        await _answer(pool, models[2])
        assert oldest not in pool.engines
        async with pool.use(models[0]), pool.use(models[2]):
            with pytest.raises(Unavailable, match="in use"):
                await _answer(pool, models[1])
        assert (await _answer(pool, models[1])).text == generate(models[1], "the card", max_new_tokens=8).text
        await pool.close()

    _run(test)


def test_a_model_that_never_fits_says_what_it_needs(base: str) -> None:
    async def test() -> None:
        pool = Pool(_limits(memory_bytes=1000))
        with pytest.raises(ModelError, match="OUTCROP_MODEL_MEMORY"):
            await _answer(pool, base)
        await pool.close()

    _run(test)


def test_vllm_serves_one_model_at_a_time(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCROP_VLLM_PYTHON", standin(tmp_path))

    async def test() -> None:
        pool = Pool(replace(_limits(), engine="vllm"))
        other = _copy(base, tmp_path / "other", 1)
        assert (await _answer(pool, base)).text == generate(base, "the card", max_new_tokens=8).text
        async with pool.use(base):
            with pytest.raises(Unavailable, match="in use or reserved"):
                await _answer(pool, other)
        assert (await _answer(pool, other)).text == generate(other, "the card", max_new_tokens=8).text
        assert len(pool.engines) == 1
        await pool.close()

    _run(test)


def test_a_folder_written_anew_is_loaded_anew(base: str, tmp_path: Path) -> None:
    async def test() -> None:
        model = _copy(base, tmp_path / "m", 1)
        pool = Pool(_limits())
        before = await _answer(pool, model)
        shutil.rmtree(model)
        with pytest.raises(ModelError, match="no model folder"):
            await _answer(pool, model)
        _copy(base, tmp_path / "m", 2)
        os.utime(Path(model) / "model.safetensors", ns=(1, 1))
        after = await _answer(pool, model)
        assert after.text == generate(model, "the card", max_new_tokens=8).text != before.text
        await pool.close()

    _run(test)


def test_a_broken_model_fails_for_everybody_and_can_be_mended(base: str, tmp_path: Path) -> None:
    async def test() -> None:
        model = Path(_copy(base, tmp_path / "m", 1))
        whole_file = (model / "model.safetensors").read_bytes()
        (model / "model.safetensors").write_bytes(whole_file[:-8])
        pool = Pool(_limits())
        failed = await asyncio.gather(*(_answer(pool, str(model)) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(error, ModelError) for error in failed)
        (model / "model.safetensors").write_bytes(whole_file)
        assert (await _answer(pool, str(model))).token_ids
        await pool.close()

    _run(test)


def test_a_tuned_model_is_asked_as_it_was_trained(base: str, tmp_path: Path) -> None:
    async def test() -> None:
        model = Path(_copy(base, tmp_path / "m", 1))
        form = {"template": "Message: {text}\nIntent:", "column": "text"}
        write_card(model, {"kind": "fine-tuned", "prompt": form, "conversations": False})
        pool = Pool(_limits())
        expected = generate(str(model), "my card", max_new_tokens=8)
        found = await _answer(pool, str(model), "my card")
        assert (found.text, found.ending.usage.prompt_tokens) == (expected.text, expected.prompt_tokens)
        await pool.close()

    _run(test)


def test_endings_say_what_ended_an_answer(base: str) -> None:
    async def test() -> None:
        pool = Pool(_limits())
        text = (await _answer(pool, base)).text
        stopped = await _answer(pool, base, stop_strings=("never there", text[2:4]))
        assert (stopped.ending.reason, stopped.ending.stop_string) == ("stop_string", text[2:4])
        assert stopped.text == text[: text.index(text[2:4])]
        full = await _answer(pool, base, "the card " * 60)
        assert full.ending.reason in ("length", "context")
        await pool.close()

    _run(test)


def test_reservations_keep_places_and_their_model(base: str, tmp_path: Path) -> None:
    async def test() -> None:
        other = _copy(base, tmp_path / "other", 5)
        pool = Pool(_limits(memory_bytes=footprint(find_model(base), "float32")))
        reservations = Reservations(pool)
        await reservations.hold("arn:1", base, 3)
        await reservations.hold("arn:1", base, 3)
        [loaded] = pool.engines
        assert loaded.gate.free == 1
        rate = await reservations.measure("arn:1", base)
        assert rate.input_tokens_per_minute > 0
        assert rate.output_tokens_per_minute > 0
        with pytest.raises(Unavailable, match="not reserved"):
            await reservations.hold("arn:2", base, 2)
        with pytest.raises(Unavailable, match="reserved"):
            await _answer(pool, other)
        with pytest.raises(UsageError, match="5 model units"):
            await reservations.hold("arn:3", base, 5)
        reservations.release("arn:1")
        assert loaded.gate.free == 4
        await reservations.hold("arn:1", base, 4)
        await reservations.hold("arn:1", base, 2)
        assert loaded.gate.free == 2
        reservations.release("arn:1")
        await _answer(pool, other)
        await pool.close()

    _run(test)
