"""bf16 or fp32, by measurement: on some processors bf16 is five times faster, on others fifty times slower."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch

MARGIN = 1.2
"""bf16 must be this much faster to be worth its rounding."""


@dataclass(frozen=True)
class Precision:
    """The chosen dtype, and the measured rates in GFLOP/s that decided (empty if it was given)."""

    dtype: torch.dtype
    gflops: dict[str, float]


def choose(asked: str, *, width: int, inner: int, rows: int, device: torch.device) -> Precision:
    """Resolve "auto" by timing [rows, width] x [width, inner] products, the shape of a feed-forward layer."""
    if asked != "auto":
        return Precision(dtype_named(asked), {})
    rates = {name: matmul_rate(rows, width, inner, getattr(torch, name), device) for name in ("float32", "bfloat16")}
    faster = rates["bfloat16"] > MARGIN * rates["float32"]
    return Precision(torch.bfloat16 if faster else torch.float32, rates)


def without_timing(asked: str, device: torch.device) -> torch.dtype:
    """Resolve "auto" by what the processor has, bf16 for units that multiply its matrices: on one machine always the
    same, for what is kept and found again by its dtype."""
    if asked != "auto":
        return dtype_named(asked)
    has_unit = torch.cuda.is_bf16_supported(False) if device.type == "cuda" else torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has_unit else torch.float32


def dtype_named(name: str) -> torch.dtype:
    """float32 or bfloat16."""
    found: torch.dtype = getattr(torch, name)
    return found


def matmul_rate(
    rows: int, width: int, inner: int, dtype: torch.dtype, device: torch.device, budget_s: float = 0.05
) -> float:
    """Median rate of a matrix product in GFLOP/s."""
    a = torch.ones(rows, width, dtype=dtype, device=device)
    b = torch.ones(width, inner, dtype=dtype, device=device)
    times: list[float] = []
    end = time.perf_counter() + budget_s
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * rows * width * inner / median(times) / 1e9
