"""What the machine could do at best: reading memory, and multiplying."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.generation.shapes import ModelShape


class Limits(NamedTuple):
    """Rates measured beside the benchmark, on the same threads."""

    read_gb_per_s: float
    bf16_gflops: float
    fp32_gflops: float

    def decode(self, shape: ModelShape, rows: int, columns: int, dtype: torch.dtype) -> float:
        """Tokens/s if a step read every weight and every key and value once, or only multiplied: the smaller."""
        weights = shape.layer_weights + shape.head_weights
        cache = rows * columns * 2 * shape.layers * shape.kv_heads * 64
        reading = (weights + cache) * dtype.itemsize / self.read_gb_per_s / 1e9
        return rows / max(reading, rows * 2 * weights / self._gflops(dtype) / 1e9)

    def prefill(self, shape: ModelShape, dtype: torch.dtype) -> float:
        """Tokens/s if prompts cost their products with weights only."""
        return self._gflops(dtype) * 1e9 / (2 * shape.layer_weights)

    def _gflops(self, dtype: torch.dtype) -> float:
        return self.bf16_gflops if dtype == torch.bfloat16 else self.fp32_gflops


def measure_limits() -> Limits:
    """Best of some repetitions: a limit is what is possible, not what is usual."""
    numbers = torch.ones(1 << 26)
    reading = min(_seconds(numbers.sum) for _ in range(5))
    rates = []
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.ones(2048, 2048, dtype=dtype) for _ in range(2))
        rates.append(2 * 2048**3 / min(_seconds(lambda a=a, b=b: a @ b) for _ in range(5)) / 1e9)
    return Limits(round(numbers.nbytes / reading / 1e9, 1), *(round(rate) for rate in rates))


def _seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)
