"""Two costs beside plain generation: eight adapters in one batch, and candidates scored on a shared prompt."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from benchmarks.generation.shapes import make
from outcrop.core.completions import CompletionRequest, Sampling, ScoreRequest
from outcrop.generation.adapters import Factors
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from outcrop.models.lora import layer_sizes
from tests.support.tiny import tiny_tokenizer

ADAPTERS, RANK = 8, 16
ADAPTED_PROMPT, ADAPTED_STEPS = 16, 12
PROMPT, CANDIDATES, LENGTH = 256, 16, 4


def adapter_ratio(shape: str, rows: int, turns: int) -> dict[str, Any]:
    """Decoding steps with eight adapters of rank 16 on all layers, over steps of the base model."""
    model = make(shape, torch.bfloat16)
    engine = EmbeddedEngine(model, tiny_tokenizer(), Capacity(prefix_tokens=0, batch_tokens=1 << 20))
    for number in range(ADAPTERS):
        factors = {
            name: Factors(
                torch.randn(RANK, size.inputs).to(torch.bfloat16) * 0.02,
                torch.randn(size.outputs, RANK).to(torch.bfloat16) * 0.02,
            )
            for name, size in layer_sizes(model).items()
        }
        engine.scheduler.adapters.add(str(number), engine.trunk.sites(factors))
    steps: dict[int, list[tuple[float, float]]] = {ADAPTERS: [], 0: []}
    for turn in range(turns + 1):
        for adapters, times in steps.items():
            found = _steps(engine, rows, adapters)
            times += found if turn else []
    ratios = {
        clock: round(median(step[at] for step in steps[ADAPTERS]) / median(step[at] for step in steps[0]), 2)
        for at, clock in enumerate(("wall", "processor"))
    }
    return {"name": f"{shape} bf16, {rows} rows: step with {ADAPTERS} adapters / base", **ratios}


def _steps(engine: EmbeddedEngine, rows: int, adapters: int) -> list[tuple[float, float]]:
    """Seconds on both clocks of the steps in which all rows decode."""
    answers = [
        answer
        for row in range(rows)
        for answer in engine.answers(
            CompletionRequest(
                tuple(torch.randint(10, 300, (ADAPTED_PROMPT,)).tolist()),
                Sampling(max_new_tokens=ADAPTED_STEPS),
                adapter=str(row % adapters) if adapters else None,
            ),
            "benchmark",
        )
    ]
    for answer in answers:
        engine.scheduler.submit(answer)
    times = []
    while not all(answer.finished for answer in answers):
        counted, start = engine.scheduler.running == rows, (time.perf_counter(), time.process_time())
        engine.step()
        if counted:
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return times


def scoring_ratio(shape: str, dtype: torch.dtype, turns: int) -> dict[str, Any]:
    """16 candidates of 4 tokens on a prompt of 256: a plain loop of forward passes, over the engine."""
    model = make(shape, dtype)
    engine = EmbeddedEngine(model, tiny_tokenizer(), Capacity(prefix_tokens=0))
    stream = torch.Generator().manual_seed(0)
    prompt = tuple(torch.randint(10, 300, (PROMPT,), generator=stream).tolist())
    candidates = tuple(tuple(torch.randint(10, 300, (LENGTH,), generator=stream).tolist()) for _ in range(CANDIDATES))
    scores: dict[str, list[float]] = {}

    def naive() -> None:
        scores["naive"] = [_plain(model, prompt, candidate) for candidate in candidates]

    def ours() -> None:
        scores["ours"] = [score.logprob for score in engine.score([ScoreRequest(prompt, candidates)])[0]]

    found = _in_turns({"naive": naive, "ours": ours}, turns)
    ratios = {clock: round(found["naive"][clock] / found["ours"][clock], 1) for clock in ("wall", "processor")}
    off = max(abs(a - b) for a, b in zip(scores["naive"], scores["ours"], strict=True))
    kind = str(dtype).removeprefix("torch.")
    return {
        "name": f"{shape} {kind}, 16 candidates: plain loop / engine (log-probabilities differ by {off:.1g})",
        **ratios,
    }


def _plain(model: Any, prompt: tuple[int, ...], candidate: tuple[int, ...]) -> float:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*prompt, *candidate]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return float(logits.float().log_softmax(-1).gather(-1, torch.tensor(candidate)[:, None]).sum())


def _in_turns(sides: dict[str, Callable[[], None]], turns: int) -> dict[str, dict[str, float]]:
    """Median seconds of each side on both clocks; the first turn warms up."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            start = time.perf_counter(), time.process_time()
            side()
            if turn:
                times[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return {
        name: {"wall": median(wall for wall, _ in found), "processor": median(cpu for _, cpu in found)}
        for name, found in times.items()
    }
