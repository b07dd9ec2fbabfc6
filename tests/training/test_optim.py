"""The flat, piecewise optimizer is torch's AdamW with clip_grad_norm_ on ordinary parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from outcrop.training import optim
from outcrop.training.optim import Optimizer
from outcrop.training.weights import FlatWeights

SHAPES = {"matrix": (7, 5), "norm": (5,), "table": (11, 3), "bias": (4,)}


def parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in SHAPES.items()}


def gradients(steps: int) -> Iterator[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for scale in (0.01, 1.0, 30.0) * steps:
        yield {name: scale * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def flat_optimizer(
    dtype: torch.dtype = torch.float32, hidden: tuple[str, ...] = (), **changed: float
) -> Optimizer:
    options = {"weight_decay": 0.1, "beta2": 0.95, "clip_norm": 1.0} | changed
    return Optimizer(FlatWeights(parameters(), dtype, hidden), **options)


def fill(ours: Optimizer, given: dict[str, Tensor]) -> None:
    for name, slot in ours.flat.slots.items():
        slot.of(ours.flat.grad).copy_(given[name])


@pytest.mark.parametrize("piece", [1 << 21, 8, 0], ids=["one piece", "many pieces", "at once"])
@pytest.mark.parametrize("clip", [1.0, 0.0])
def test_torchs_adamw_with_clipping(piece: int, clip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "PIECE", piece)
    monkeypatch.setattr(optim, "updates_at_once", lambda device: not piece)
    ours, plain = flat_optimizer(clip_norm=clip), parameters()
    theirs = torch.optim.AdamW(
        [
            {"params": [p for p in plain.values() if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in plain.values() if p.dim() < 2], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
    )
    for index, given in enumerate(gradients(5)):
        rate = 1e-2 / (index + 1)
        fill(ours, given)
        norm = ours.step(rate)
        for name, parameter in plain.items():
            parameter.grad = given[name].clone()
        expected = nn.utils.clip_grad_norm_(plain.values(), clip or float("inf"))
        for group in theirs.param_groups:
            group["lr"] = rate
        theirs.step()
        assert norm == pytest.approx(float(expected), rel=1e-6)
        assert not ours.flat.grad.any()
    for name, value in ours.flat.state().items():
        torch.testing.assert_close(value, plain[name].detach(), rtol=0, atol=1e-6)


def test_torchs_muon_on_hidden_matrices_and_adamw_on_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "PIECE", 8)
    ours, plain = flat_optimizer(hidden=("matrix",), clip_norm=0.0), parameters()
    muon = torch.optim.Muon([plain["matrix"]], weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(
        [
            {"params": [plain["table"]], "weight_decay": 0.1},
            {"params": [plain["norm"], plain["bias"]], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
    )
    assert next(iter(ours.flat.slots)) == "matrix"
    for index, given in enumerate(gradients(5)):
        fill(ours, given)
        ours.step(1e-2 / (index + 1))
        for name, parameter in plain.items():
            parameter.grad = given[name].clone()
        for theirs in (muon, adamw):
            for group in theirs.param_groups:
                group["lr"] = 1e-2 / (index + 1)
            theirs.step()
    for name, value in ours.flat.state().items():
        torch.testing.assert_close(value, plain[name].detach(), rtol=0, atol=1e-5)


def test_the_compute_copy_follows_the_master() -> None:
    ours = flat_optimizer(torch.bfloat16)
    fill(ours, next(gradients(1)))
    before = ours.flat.compute.clone()
    ours.step(1e-1)
    assert torch.equal(ours.flat.compute, ours.flat.master.bfloat16())
    assert not torch.equal(ours.flat.compute, before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_that_is_no_number_changes_nothing_and_is_forgotten(bad: float, dtype: torch.dtype) -> None:
    ours = flat_optimizer(dtype)
    fill(ours, next(gradients(1)))
    ours.step(1e-2)
    before = {name: value.clone() for name, value in ours.state().items()} | {"master": ours.flat.master.clone()}
    ours.flat.grad[3] = bad
    ours.accumulate()
    assert not math.isfinite(ours.step(1e-2))
    assert all(torch.equal(value, before[name]) for name, value in ours.state().items())
    assert torch.equal(ours.flat.master, before["master"])
    assert not ours.flat.grad.any()
    assert ours.step(1e-2) == 0


def test_one_backward_pass_after_several_is_taken_alone() -> None:
    ours = flat_optimizer(torch.bfloat16)
    for _ in range(3):
        ours.flat.grad.fill_(2)
        ours.accumulate()
    count = len(ours.flat.master)
    assert ours.step(0.0) == pytest.approx(6 * count**0.5)
    ours.flat.grad.fill_(1)
    assert ours.step(0.0) == pytest.approx(count**0.5)


@pytest.mark.parametrize("hidden", [(), ("matrix",)], ids=["adamw", "muon"])
@pytest.mark.parametrize("steps", [0, 2])
def test_state_and_restore(steps: int, hidden: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "PIECE", 8)
    first, second = flat_optimizer(hidden=hidden), flat_optimizer(hidden=hidden)
    given = list(gradients(2))
    for gradient in given[:steps]:
        fill(first, gradient)
        first.step(1e-2)
    fill(second, given[5])
    second.step(1e-2)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    second.flat.master.copy_(first.flat.master)
    for optimizer in (first, second):
        fill(optimizer, given[3])
        optimizer.step(1e-2)
    assert torch.equal(first.flat.master, second.flat.master)
    assert all(torch.equal(first.state()[name], second.state()[name]) for name in first.state())


def test_after_forgetting_it_is_as_new() -> None:
    used, new = flat_optimizer(), flat_optimizer()
    fill(used, next(gradients(1)))
    used.step(0.0)
    used.forget()
    for optimizer in (used, new):
        fill(optimizer, next(gradients(1)))
        optimizer.step(1e-2)
    assert torch.equal(used.flat.master, new.flat.master)
