"""How fast models are on this machine: in turns, on the same prompts, one at a time and many at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.core.events import Listener
from outcrop.core.results import Estimate
from outcrop.core.statistics import ratio_of_medians
from outcrop.data.records import Record, answer_text
from outcrop.evaluation.distillation import Speed, Timed
from outcrop.generation.batch import BATCH_TOKENS
from outcrop.generation.cascade import engine_of
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from outcrop.models.int8 import held_bytes
from outcrop.models.loading import LoadedModel
from outcrop.workflows.bulk import Bulk, spread

BULK_ROUNDS = 5
"""Times that many prompts are answered at once, by each model in turn."""
RACE_S = 8.0
"""Seconds that the slowest model may take for each of them, and for all prompts one at a time, which decides how many
prompts there are: one in several hundred answers may repeat itself to its last token, and few rows wait for it."""


@dataclass(frozen=True)
class Timings:
    """Of one model: ms [prompts], one at a time, and rows_per_s [rounds], `together` at once; megabytes of its
    weights."""

    ms: NDArray[np.float64]
    rows_per_s: NDArray[np.float64]
    together: int
    parameters: int
    megabytes: float

    @property
    def speed(self) -> Speed:
        """The medians."""
        return Speed(float(np.median(self.ms)), float(np.median(self.rows_per_s)), self.parameters, self.megabytes)

    @property
    def timed(self) -> Timed:
        """On how much."""
        return Timed(len(self.ms), self.together, len(self.rows_per_s))


def race(
    models: Mapping[str, LoadedModel], records: Sequence[Record], tokens: int, listener: Listener, *,
    alone: int, stops: bool = True, rounds: int = BULK_ROUNDS, seconds: float = RACE_S,
) -> dict[str, Timings]:  # fmt: skip
    """Time every model, greedy, in turns: on at least `alone` of the records' prompts one at a time, and as `outcrop
    batch` answers at least as many at once, more where the slowest takes no longer than `seconds` for them.

    tokens: of an answer at most; without `stops` each has as many as the record's own, in the model's tokens, which
    weights that were not trained need to be comparable. What was computed for a prompt before is forgotten, as no
    user's first request would find it.
    """
    engines = {name: engine_of(loaded, Capacity(batch_tokens=BATCH_TOKENS)) for name, loaded in models.items()}
    asked = {name: _request(loaded, records[0], tokens, stops) for name, loaded in models.items()}
    for _ in range(2):  # the first time warms up
        slowest = max(_seconds(engine, asked[name]) for name, engine in engines.items())
    single = spread(records, max(alone, int(seconds / slowest)))
    ms: dict[str, list[float]] = {name: [] for name in models}
    for number, record in enumerate(single):
        for name, engine in engines.items():
            ms[name].append(1000 * _seconds(engine, _request(models[name], record, tokens, stops)))
        listener({"event": "progress", "title": "Timing", "done": number + 1, "total": len(single)})

    def bulks(some: Sequence[Record]) -> dict[str, Bulk]:
        return {name: Bulk(models[name], engine, some, tokens, stops=stops) for name, engine in engines.items()}

    rate = min(bulk.rate() for bulk in bulks(spread(records, alone)).values())
    many = bulks(spread(records, max(alone, int(rate * seconds))))
    rates: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds):
        for name, bulk in many.items():
            rates[name].append(bulk.rate())
        listener({"event": "progress", "title": "Timing many at once", "done": number + 1, "total": rounds})
    return {
        name: Timings(np.array(ms[name]), np.array(rates[name]), many[name].rows, loaded.parameters, _megabytes(loaded))
        for name, loaded in models.items()
    }


def _megabytes(loaded: LoadedModel) -> float:
    """Of the weights as they are computed with, those of a cascade's student among them."""
    return held_bytes(loaded.model) / 1e6 + (_megabytes(loaded.student) if loaded.student else 0.0)


def faster(teacher: Timings, student: Timings, *, seed: int = 0) -> tuple[Estimate, Estimate]:
    """The student's speed-up: of one prompt at a time, and of many at once."""
    return (
        ratio_of_medians(teacher.ms, student.ms, seed=seed),
        ratio_of_medians(student.rows_per_s, teacher.rows_per_s, seed=seed),
    )


def _seconds(engine: EmbeddedEngine, request: CompletionRequest) -> float:
    engine.forget_prompts()
    start = time.perf_counter()
    engine.complete([request])
    return time.perf_counter() - start


def _request(loaded: LoadedModel, record: Record, tokens: int, stops: bool) -> CompletionRequest:
    prompt = tuple(loaded.renderer.prompt(record))
    stop_ids = loaded.renderer.stop_ids if stops else ()
    tokens = tokens if stops else len(loaded.renderer.answer(record, answer_text(record)))
    return CompletionRequest(
        prompt, Sampling(max_new_tokens=max(1, min(tokens, loaded.context - len(prompt))), stop_ids=stop_ids)
    )
