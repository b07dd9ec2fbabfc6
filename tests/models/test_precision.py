"""The choice of a dtype by measurement."""

from __future__ import annotations

import pytest
import torch

from outcrop.models import precision
from outcrop.models.precision import choose, matmul_rate, without_timing

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({torch.float32: 100.0, torch.bfloat16: 121.0}, torch.bfloat16),
        ({torch.float32: 100.0, torch.bfloat16: 119.0}, torch.float32),  # not worth its rounding
        ({torch.float32: 100.0, torch.bfloat16: 2.0}, torch.float32),  # emulated
    ],
)
def test_bf16_only_where_it_is_clearly_faster(
    rates: dict[torch.dtype, float], chosen: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "matmul_rate", lambda rows, width, inner, dtype, device: rates[dtype])
    found = choose("auto", width=8, inner=16, rows=4, device=CPU)
    assert found.dtype == chosen
    assert found.gflops == {"float32": rates[torch.float32], "bfloat16": rates[torch.bfloat16]}


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_what_was_asked_for_is_not_measured(asked: str) -> None:
    assert choose(asked, width=8, inner=16, rows=4, device=CPU) == precision.Precision(getattr(torch, asked), {})


def test_a_real_measurement() -> None:
    found = choose("auto", width=64, inner=64, rows=64, device=CPU)
    assert set(found.gflops) == {"float32", "bfloat16"}
    assert all(rate > 0 for rate in found.gflops.values())


def test_a_rate_is_two_operations_per_product_over_the_median_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock by which one product takes a second, and the others a millisecond."""
    ticks = iter([0.0, *(tick for n in range(99) for tick in (n, n, n + (1.0 if n == 0 else 1e-3)))])
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(ticks))
    assert matmul_rate(10, 20, 30, torch.float32, CPU, budget_s=5) == pytest.approx(2 * 10 * 20 * 30 / 1e-3 / 1e9)


@pytest.mark.parametrize(("has_unit", "auto"), [(True, torch.bfloat16), (False, torch.float32)])
def test_without_timing_the_processor_decides(
    has_unit: bool, auto: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_unit)
    assert without_timing("auto", CPU) == auto
    assert without_timing("float32", CPU) == torch.float32
    assert without_timing("bfloat16", CPU) == torch.bfloat16
