"""AdamW over flat weights, a piece at a time: gradients are widened to fp32 only where they are being used."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from outcrop.training.weights import FlatWeights

PIECE = 1 << 21
"""Elements updated at once: weights, gradient and both moments of a piece stay in the processor's cache."""


class Optimizer:
    """AdamW (Loshchilov and Hutter 2019) on the fp32 master, with clipping by global norm (Pascanu et al. 2013)."""

    def __init__(self, flat: FlatWeights, *, weight_decay: float, beta2: float, clip_norm: float) -> None:
        self.flat, self.clip_norm = flat, clip_norm
        decayed, others = _cut(0, flat.decay), _cut(flat.decay, len(flat.master))
        self.bounds = decayed + others
        self.pieces = [flat.master[start:end].detach().requires_grad_() for start, end in self.bounds]
        self.adamw = torch.optim.AdamW(
            [
                {"params": self.pieces[: len(decayed)], "weight_decay": weight_decay},
                {"params": self.pieces[len(decayed) :], "weight_decay": 0.0},
            ],
            lr=0.0,
            betas=(0.9, beta2),
            fused=True,
        )
        self.scratch = torch.empty(max(end - start for start, end in self.bounds), device=flat.master.device)
        self.sum: Tensor | None = None
        self.summed = False

    def accumulate(self) -> None:
        """After a backward pass that is one of several of a step: add up its gradient in fp32."""
        if self.flat.grad.dtype == torch.float32:
            return  # backward passes add to it already
        if self.sum is None:
            self.sum = torch.zeros_like(self.flat.master)
        self.sum.add_(self.flat.grad)
        self.flat.grad.zero_()
        self.summed = True

    def step(self, learning_rate: float) -> float:
        """Clip, update, publish and clear the gradient. Returns the gradient norm before clipping; where that is not
        finite, nothing is updated."""
        source = self.sum if self.sum is not None and self.summed else self.flat.grad
        norm = float(torch.stack([torch.linalg.vector_norm(self._piece(source, a, b)) for a, b in self.bounds]).norm())
        if math.isfinite(norm):
            self._update(source, learning_rate, min(1.0, self.clip_norm / (norm + 1e-6)) if self.clip_norm else 1.0)
        source.zero_()
        self.summed = False
        return norm

    def _update(self, source: Tensor, learning_rate: float, shrink: float) -> None:
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        for piece, (start, end) in zip(self.pieces, self.bounds, strict=True):
            piece.grad = self._piece(source, start, end).mul_(shrink)
            self.adamw.step()
            piece.grad = None
            if self.flat.compute is not self.flat.master:
                self.flat.compute[start:end].copy_(piece.detach())

    def _piece(self, source: Tensor, start: int, end: int) -> Tensor:
        return self.scratch[: end - start].copy_(source[start:end])

    def forget(self) -> None:
        """Become as new: no moments, no steps."""
        self.adamw.state.clear()

    def state(self) -> dict[str, Tensor]:
        """Moments as flat tensors and the step count, for a checkpoint."""
        if not self.adamw.state:
            zeros = torch.zeros_like(self.flat.master)
            return {"exp_avg": zeros, "exp_avg_sq": zeros.clone(), "steps": torch.zeros(1)}
        states = [self.adamw.state[piece] for piece in self.pieces]
        moments = {name: torch.cat([state[name] for state in states]) for name in ("exp_avg", "exp_avg_sq")}
        return moments | {"steps": states[0]["step"].reshape(1).cpu()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Set what `state` returned; zero steps mean an untouched optimizer."""
        self.forget()
        if not float(state["steps"]):
            return
        device = self.flat.master.device
        for piece, (start, end) in zip(self.pieces, self.bounds, strict=True):
            moments = {name: state[name][start:end].clone().to(device) for name in ("exp_avg", "exp_avg_sq")}
            self.adamw.state[piece] = {"step": state["steps"][0].clone().to(device), **moments}


def _cut(start: int, end: int) -> list[tuple[int, int]]:
    return [(a, min(a + PIECE, end)) for a in range(start, end, PIECE)]
