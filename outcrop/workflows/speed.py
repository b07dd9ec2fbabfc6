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
from outcrop.data.records import Record
from outcrop.evaluation.distillation import Speed
from outcrop.generation.cascade import engine_of
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.models.int8 import held_bytes
from outcrop.models.loading import LoadedModel

BULK_ROUNDS = 5
"""Times that all prompts are answered at once, by each model in turn."""


@dataclass(frozen=True)
class Timings:
    """Of one model: ms [prompts], one at a time, and rows_per_s [rounds], all at once; megabytes of its weights."""

    ms: NDArray[np.float64]
    rows_per_s: NDArray[np.float64]
    parameters: int
    megabytes: float

    @property
    def speed(self) -> Speed:
        """The medians."""
        return Speed(float(np.median(self.ms)), float(np.median(self.rows_per_s)), self.parameters, self.megabytes)


def race(
    models: Mapping[str, LoadedModel], records: Sequence[Record], tokens: int, listener: Listener, *,
    stops: bool = True, rounds: int = BULK_ROUNDS,
) -> dict[str, Timings]:  # fmt: skip
    """Time every model on the records' prompts, greedy, in turns, after one round that is not counted.

    tokens: of an answer at most; without `stops` exactly so many, which weights that were not trained need to be
    comparable. What was computed for a prompt before is forgotten, as no user's first request would find it.
    """
    engines = {name: engine_of(loaded) for name, loaded in models.items()}
    asked = {name: [_request(loaded, record, tokens, stops) for record in records] for name, loaded in models.items()}
    ms: dict[str, list[float]] = {name: [] for name in models}
    rates: dict[str, list[float]] = {name: [] for name in models}
    for name, engine in engines.items():
        _seconds(engine, asked[name])
    for number in range(len(records)):
        for name, engine in engines.items():
            ms[name].append(1000 * _seconds(engine, asked[name][number : number + 1]))
        listener({"event": "progress", "title": "Timing", "done": number + 1, "total": len(records)})
    for _ in range(rounds):
        for name, engine in engines.items():
            rates[name].append(len(records) / _seconds(engine, asked[name]))
    return {
        name: Timings(np.array(ms[name]), np.array(rates[name]), loaded.parameters, _megabytes(loaded))
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


def _seconds(engine: EmbeddedEngine, requests: Sequence[CompletionRequest]) -> float:
    engine.forget_prompts()
    start = time.perf_counter()
    engine.complete(requests)
    return time.perf_counter() - start


def _request(loaded: LoadedModel, record: Record, tokens: int, stops: bool) -> CompletionRequest:
    prompt = tuple(loaded.renderer.prompt(record))
    stop_ids = loaded.renderer.stop_ids if stops else ()
    tokens = 1 if loaded.renderer.spec.label_tokens else tokens
    return CompletionRequest(
        prompt, Sampling(max_new_tokens=max(1, min(tokens, loaded.context - len(prompt))), stop_ids=stop_ids)
    )
