"""On a GPU: the same attention, gradients and steps as on the CPU, and a run that resumes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from outcrop.training.attention import DocumentAttention, attend
from outcrop.training.checkpoints import newest
from outcrop.training.engine import TrainingEngine
from outcrop.training.layout import lay_out
from outcrop.training.loop import TrainingRun
from tests.support.documents import documents, rows
from tests.support.small_run import SETTINGS, task
from tests.support.tiny import tiny_model
from tests.support.training import spec

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")
BATCH = documents([9, 14, 40, 31, 7, 100], prefix=5)


def _off(found: Tensor, exact: Tensor) -> float:
    return float((found.double().cpu() - exact.double().cpu()).norm() / exact.double().norm())


@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (5, 1)])
@pytest.mark.parametrize("prefix", [0, 5])
@pytest.mark.parametrize("width", [32, 64])
def test_flash_attention_is_ours(heads: tuple[int, int], prefix: int, width: int) -> None:
    attention = lay_out(documents([9, 14, 40, 31], prefix=prefix)).attention
    total = 94 - 3 * prefix
    generator = torch.Generator().manual_seed(0)
    shapes = [(total, heads[0], width), (total, heads[1], width), (total, heads[1], width), (total, heads[0], width)]
    exact = [torch.randn(shape, generator=generator).bfloat16().float().requires_grad_() for shape in shapes]
    given = [x.detach().cuda().bfloat16().requires_grad_() for x in exact]
    expected = DocumentAttention.apply(*exact[:3], 0.2, attention)
    found = attend(*given[:3], 0.2, lay_out(documents([9, 14, 40, 31], prefix=prefix)).to(CUDA).attention)
    assert _off(found, expected) < 1e-2
    expected.backward(exact[3].detach())
    found.backward(given[3].detach())
    for ours, theirs in zip(given[:3], exact[:3], strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert _off(ours.grad, theirs.grad) < 2e-2


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_gradient_is_the_cpus(dtype: torch.dtype, tolerance: float, method: str) -> None:
    engines = [
        TrainingEngine(tiny_model().to(device), spec(method=method, micro_batch_tokens=64), kind)
        for device, kind in (("cpu", torch.float32), ("cuda", dtype))
    ]
    for engine in engines:
        if method == "lora":  # B starts at 0, and then A has no gradient
            engine.flat.master.copy_(torch.linspace(-0.1, 0.1, len(engine.flat.master)))
            engine.flat.publish()
    losses = [engine.gradient(rows(BATCH), 0)[0] for engine in engines]
    sums = [engine.optimizer.sum if engine.optimizer.summed else engine.flat.grad for engine in engines]
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
    assert _off(sums[1], sums[0]) < tolerance


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_steps_are_the_cpus(optimizer: str) -> None:
    engines = [
        TrainingEngine(tiny_model().to(device), spec(method="full", optimizer=optimizer), torch.float32)
        for device in ("cpu", "cuda")
    ]
    start = engines[0].flat.master.clone()
    for number in range(3):
        norms = [engine.step(rows(BATCH), number, 1e-3).gradient_norm for engine in engines]
        assert norms[1] == pytest.approx(norms[0], rel=1e-3)
    moved = [engine.flat.master.cpu() - start for engine in engines]
    assert _off(moved[1], moved[0]) < 5e-2


def test_a_run_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    chosen = spec(**SETTINGS | {"max_steps": 12, "checkpoint_minutes": 0, "optimizer": "muon", "method": "full"})
    engine = TrainingEngine(tiny_model().cuda(), chosen, torch.bfloat16)
    whole = TrainingRun(engine, task(), chosen, tmp_path / "run", lambda _: None).run()
    found, _ = newest(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert 0 < found.step < whole.steps
    again = TrainingEngine(tiny_model().cuda(), chosen, torch.bfloat16)
    resumed = TrainingRun(again, task(), chosen, tmp_path / "run", lambda _: None).run()
    assert resumed.steps == whole.steps
    assert _off(again.flat.master, engine.flat.master) < 2e-2
