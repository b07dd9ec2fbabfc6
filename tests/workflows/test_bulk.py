"""The timing of many prompts at once is that of `outcrop batch`: the same requests, computed in the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

import outcrop
from outcrop.core.events import ignore
from outcrop.data.certificate import line_of
from outcrop.data.records import Conversation, Message, Pair, Record
from outcrop.generation.batch import BATCH_TOKENS
from outcrop.generation.cascade import engine_of
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from outcrop.models.loading import LoadedModel, load_model
from outcrop.workflows.bulk import Bulk, spread
from outcrop.workflows.speed import race

PAIRS: list[Record] = [Pair(f"Message: {number} my card\nIntent:", "a card") for number in range(40)]
TURNS: list[Record] = [
    Conversation((Message("user", f"{n} my card"), Message("assistant", "x" * n))) for n in (1, 5, 9)
]


@pytest.fixture(scope="module")
def loaded(base: str) -> LoadedModel:
    return load_model(base)


def opened(loaded: LoadedModel) -> EmbeddedEngine:
    return engine_of(loaded, Capacity(batch_tokens=BATCH_TOKENS))


@pytest.mark.parametrize("records", [PAIRS, TURNS])
def test_the_work_is_that_of_batch(base: str, loaded: LoadedModel, tmp_path: Path, records: list[Record]) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(map(line_of, records)))
    asked = outcrop.batch(base, [str(tmp_path / "rows.jsonl")], str(tmp_path / "out"), sampling={"max_new_tokens": 7})
    engine = opened(loaded)
    bulk = Bulk(loaded, engine, records, 7)
    assert bulk.rate() > 0
    assert engine.scheduler.generated_tokens == asked.generated_tokens
    assert engine.scheduler.prefix_tokens == asked.prefix_tokens
    before = engine.scheduler.computed_tokens
    bulk.rate()
    assert engine.scheduler.computed_tokens == 2 * before


def test_equal_rows_are_computed_once_as_by_batch(loaded: LoadedModel) -> None:
    once, twice = opened(loaded), opened(loaded)
    Bulk(loaded, once, PAIRS, 3).rate()
    Bulk(loaded, twice, [*PAIRS, *PAIRS], 3).rate()
    assert once.scheduler.generated_tokens == twice.scheduler.generated_tokens


def test_answers_of_random_weights_are_as_long_as_the_rows_own(loaded: LoadedModel) -> None:
    engine = opened(loaded)
    Bulk(loaded, engine, TURNS, 1, stops=False).rate()
    expected = sum(len(loaded.renderer.answer(row, row.messages[-1].content)) for row in TURNS)  # type: ignore[union-attr]
    assert engine.scheduler.generated_tokens == expected


def test_records_of_another_kind_are_left_out(loaded: LoadedModel) -> None:
    assert Bulk(loaded, opened(loaded), [*PAIRS, *TURNS], 2).rows == len(PAIRS)


def test_some_are_taken_from_everywhere() -> None:
    assert spread(PAIRS, 4) == [PAIRS[0], PAIRS[10], PAIRS[20], PAIRS[30]]
    assert spread(PAIRS, 99) == PAIRS


@pytest.mark.parametrize(("seconds", "many"), [(0.0, 4), (1e6, 40)])
def test_how_many_are_timed_is_a_matter_of_time(loaded: LoadedModel, seconds: float, many: int) -> None:
    timings = race({"a": loaded, "b": loaded}, PAIRS, 2, ignore, alone=4, rounds=2, seconds=seconds)
    for timing in timings.values():
        assert (timing.timed.alone, timing.timed.together, timing.timed.rounds) == (many, many, 2)
