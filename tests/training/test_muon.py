"""Many matrices at once: what torch's Muon makes of each alone."""

from __future__ import annotations

import torch
from torch import nn

from outcrop.training.muon import BatchedMuon

SHAPES = [(24, 16), (16, 24), (24, 16), (16, 16), (16, 24), (8, 8)]
OPTIONS = {"lr": 1e-2, "weight_decay": 0.1, "momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}


def test_torchs_muon() -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in SHAPES]
    ours, theirs = ([nn.Parameter(matrix.clone()) for matrix in start] for _ in range(2))
    optimizers = BatchedMuon(ours, **OPTIONS), torch.optim.Muon(theirs, **OPTIONS)
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        ours[3].grad = theirs[3].grad = None
        for optimizer in optimizers:
            optimizer.step()
    for mine, other, before in zip(ours, theirs, start, strict=True):
        moved = other.detach() - before
        assert (mine - other).norm() <= 2e-2 * moved.norm()  # rounding of bf16
    assert torch.equal(ours[3], start[3])
    for mine, other in zip(ours[:3], theirs[:3], strict=True):
        momenta = optimizers[0].state[mine]["momentum_buffer"], optimizers[1].state[other]["momentum_buffer"]
        torch.testing.assert_close(*momenta)
