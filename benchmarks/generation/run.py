"""Speed of the embedded engine beside transformers' generate, in one process and in turns (A/B/A/B), with limits.

    python -m benchmarks.generation.run [--threads N] [--quick]

Random Llama models of the shapes m30 and m135, prompts of 128 tokens. Two clocks: seconds on the wall, and seconds of
processor time, which a shared machine disturbs less. Ratios are of medians. Writes results.json and results.md here.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from transformers import LogitsProcessorList

from benchmarks.generation.limits import Limits, measure_limits
from benchmarks.generation.shapes import SHAPES, make
from benchmarks.generation.tasks import adapter_ratio, scoring_ratio
from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.core.files import write_atomic, write_json
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from outcrop.workflows.evaluate import reproduction
from tests.support.tiny import tiny_tokenizer

HERE = Path(__file__).parent
PROMPT = 128
STEPS = {1: 32, 8: 16, 32: 8}
"""Decoding steps timed per turn, by rows."""


class Clock(NamedTuple):
    """A moment on both clocks; differences are seconds."""

    wall: float
    processor: float

    @classmethod
    def now(cls) -> Clock:
        return cls(time.perf_counter(), time.process_time())

    def since(self, before: Clock) -> Clock:
        return Clock(self.wall - before.wall, self.processor - before.processor)


class Turn(NamedTuple):
    """One run of one side."""

    prefill: Clock
    steps: list[Clock]


def ours(engine: EmbeddedEngine, rows: int, steps: int) -> Turn:
    """Fresh prompts in a batch; a step counts when all rows decode."""
    start = Clock.now()
    engine.complete([CompletionRequest(prompt, Sampling(max_new_tokens=1)) for prompt in _prompts(rows)])
    prefill = Clock.now().since(start)
    sampling = Sampling(max_new_tokens=steps + 2)
    answers = [a for prompt in _prompts(rows) for a in engine.answers(CompletionRequest(prompt, sampling), "benchmark")]
    for answer in answers:
        engine.scheduler.submit(answer)
    times = []
    while not all(answer.finished for answer in answers):
        counted, start = engine.scheduler.running == rows, Clock.now()
        engine.step()
        if counted:
            times.append(Clock.now().since(start))
    return Turn(prefill, times)


def theirs(model: Any, rows: int, steps: int) -> Turn:
    """transformers' generate, timed through a logits processor."""
    ticks = [Clock.now()]

    def tick(_: Any, scores: torch.Tensor) -> torch.Tensor:
        ticks.append(Clock.now())
        return scores

    prompts = torch.tensor(_prompts(rows))
    ticks[0] = Clock.now()
    with torch.inference_mode():
        model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=steps + 2,
            min_new_tokens=steps + 2,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
            logits_processor=LogitsProcessorList([tick]),
        )
    between = [after.since(before) for before, after in pairwise(ticks)]
    return Turn(between[0], between[1:])


def _prompts(rows: int) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.randint(10, 300, (rows, PROMPT)).tolist()]


def compare(shape: str, dtype: torch.dtype, turns: int, limits: Limits) -> list[dict[str, Any]]:
    """Decode and prefill of both sides at every number of rows."""
    model = make(shape, dtype)
    engine = EmbeddedEngine(model, tiny_tokenizer(), Capacity(prefix_tokens=0, batch_tokens=1 << 20))
    found = []
    for rows, steps in STEPS.items():
        sides: dict[str, Callable[[int], Turn]] = {
            "outcrop": lambda n, rows=rows: ours(engine, rows, n),
            "transformers": lambda n, rows=rows: theirs(model, rows, n),
        }
        done: dict[str, list[Turn]] = {name: [] for name in sides}
        for turn in range(turns + 1):
            for name, side in sides.items():
                result = side(steps if turn else 3)
                if turn:
                    done[name].append(result)
        record = summarise(shape, dtype, rows, done)
        record["limit_decode"] = limits.decode(SHAPES[shape], rows, PROMPT + steps // 2, dtype)
        record["limit_prefill"] = limits.prefill(SHAPES[shape], dtype)
        print(shape, dtype, rows, {key: record[key] for key in ("decode_ratio", "prefill_ratio")}, flush=True)
        found.append(record)
    return found


def summarise(shape: str, dtype: torch.dtype, rows: int, done: dict[str, list[Turn]]) -> dict[str, Any]:
    """Medians on both clocks, and what the other side takes as a multiple of ours."""
    record: dict[str, Any] = {"model": shape, "dtype": str(dtype).removeprefix("torch."), "rows": rows}
    for name, turns in done.items():
        steps = [step for turn in turns for step in turn.steps]
        record[name] = {
            clock: {
                "decode_tokens_per_s": rows / median(getattr(step, clock) for step in steps),
                "prefill_tokens_per_s": rows * PROMPT / median(getattr(turn.prefill, clock) for turn in turns),
            }
            for clock in Clock._fields
        }
    for kind in ("decode", "prefill"):
        rate = f"{kind}_tokens_per_s"
        record[f"{kind}_ratio"] = {
            clock: round(record["outcrop"][clock][rate] / record["transformers"][clock][rate], 2)
            for clock in Clock._fields
        }
    return record


def table(found: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        "# Speed of the embedded engine",
        "",
        f"{found['threads']} thread(s); {found['note']} Ratios: transformers' time over ours, medians on the wall",
        "clock, in brackets of processor time. Share: of what reading memory or multiplying allows, measured in the",
        "same run.",
        "",
        "| model | dtype | rows | decode tokens/s | ratio | share | prefill tokens/s | ratio | share |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for record in found["generation"]:
        ours_, decode, prefill = record["outcrop"]["wall"], record["decode_ratio"], record["prefill_ratio"]
        cells = [record["model"], record["dtype"], record["rows"]]
        for kind, ratio in (("decode", decode), ("prefill", prefill)):
            rate = ours_[f"{kind}_tokens_per_s"]
            cells += [
                f"{rate:,.0f}",
                f"{ratio['wall']} ({ratio['processor']})",
                f"{rate / record[f'limit_{kind}']:.0%}",
            ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "| measure | wall | processor time |", "| --- | --- | --- |"]
    lines += [f"| {each['name']} | {each['wall']} | {each['processor']} |" for each in found["tasks"]]
    return "\n".join([*lines, "", f"Limits: {found['limits']}. Machine: {found['machine']}.", ""])


def main() -> None:
    """Run everything and write results.json and results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--models", default="m30,m135")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    limits = measure_limits()
    generation, tasks = [], []
    for shape in given.models.split(","):
        generation += compare(shape, torch.bfloat16, given.turns, limits)
        tasks += [adapter_ratio(shape, rows, given.turns) for rows in (8, 32)]
        tasks += [scoring_ratio(shape, dtype, given.turns) for dtype in (torch.bfloat16, torch.float32)]
    load = os.getloadavg()[0]
    found = {
        "generation": generation,
        "tasks": tasks,
        "threads": given.threads,
        "limits": limits._asdict(),
        "note": f"the machine was {'shared' if load > given.threads + 0.5 else 'quiet'} (load {load:.1f}).",
        "machine": dict(reproduction().machine),
    }
    write_json(HERE / "results.json", found)
    write_atomic(HERE / "results.md", table(found))
    print(table(found))


if __name__ == "__main__":
    main()
