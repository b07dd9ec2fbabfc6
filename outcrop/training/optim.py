"""AdamW over flat weights, a piece at a time: gradients are widened to fp32 only where they are being used."""

from __future__ import annotations

import torch
from torch import Tensor

from outcrop.training.weights import FlatWeights

PIECE = 1 << 21
"""Elements updated at once: weights, gradient and both moments of a piece stay in the processor's cache."""


class Optimizer:
    """AdamW (Loshchilov and Hutter 2019) on the fp32 master, with clipping by global norm (Pascanu et al. 2013)."""

    def __init__(self, flat: FlatWeights, *, weight_decay: float, beta2: float, clip_norm: float) -> None:
        self.flat, self.clip_norm = flat, clip_norm
        self.pieces = [*_split(flat.master, 0, flat.decay), *_split(flat.master, flat.decay, len(flat.master))]
        self.bounds = [(p.storage_offset(), p.storage_offset() + len(p)) for p in self.pieces]
        decayed = sum(end <= flat.decay for _, end in self.bounds)
        self.adamw = torch.optim.AdamW(
            [
                {"params": self.pieces[:decayed], "weight_decay": weight_decay},
                {"params": self.pieces[decayed:], "weight_decay": 0.0},
            ],
            lr=0.0,
            betas=(0.9, beta2),
            fused=True,
        )
        self.scratch = torch.empty(max(map(len, self.pieces)), device=flat.master.device)
        self.sum: Tensor | None = None

    def collect(self, *, more: bool) -> None:
        """After a backward pass: keep its gradient in fp32 if the step has `more` than one."""
        if more:
            if self.sum is None:
                self.sum = torch.zeros_like(self.flat.master)
            self.sum.add_(self.flat.grad)
            self.flat.grad.zero_()

    def step(self, learning_rate: float, *, summed: bool) -> float:
        """Clip, update, publish and clear the gradient. Returns the gradient norm before clipping; where that is not
        finite, nothing is updated."""
        source = self.sum if summed and self.sum is not None else self.flat.grad
        norm = float(torch.stack([torch.linalg.vector_norm(self._piece(source, a, b)) for a, b in self.bounds]).norm())
        if not torch.isfinite(torch.tensor(norm)):
            return norm
        shrink = min(1.0, self.clip_norm / (norm + 1e-6)) if self.clip_norm else 1.0
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        for piece, (start, end) in zip(self.pieces, self.bounds, strict=True):
            piece.grad = self._piece(source, start, end).mul_(shrink)
            self.adamw.step()
            piece.grad = None
            if self.flat.compute is not self.flat.master:
                self.flat.compute[start:end].copy_(piece.detach())
        source.zero_()
        return norm

    def _piece(self, source: Tensor, start: int, end: int) -> Tensor:
        return self.scratch[: end - start].copy_(source[start:end])

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
        self.adamw.state.clear()
        if not float(state["steps"]):
            return
        device = self.flat.master.device
        for piece, (start, end) in zip(self.pieces, self.bounds, strict=True):
            moments = {name: state[name][start:end].clone().to(device) for name in ("exp_avg", "exp_avg_sq")}
            self.adamw.state[piece] = {"step": state["steps"][0].clone().to(device), **moments}


def _split(master: Tensor, start: int, end: int) -> list[Tensor]:
    pieces = [master[a : min(a + PIECE, end)] for a in range(start, end, PIECE)]
    return [piece.detach().requires_grad_() for piece in pieces]
