"""Optimizers over flat weights. On a CPU a piece at a time: gradients are widened to fp32 only where they are used."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from outcrop.training.muon import BatchedMuon
from outcrop.training.weights import FlatWeights

PIECE = 1 << 21
"""Elements updated at once on a CPU: weights, gradient and both moments of a piece stay in the processor's cache.
An accelerator updates all at once: there each call costs more than what it computes."""

MOMENTUM = 0.95
"""Of Muon, as its author uses it."""


def updates_at_once(device: torch.device) -> bool:
    """Whether pieces would not pay."""
    return device.type != "cpu"


class Optimizer:
    """AdamW (Loshchilov and Hutter 2019) on the fp32 master, with clipping by global norm (Pascanu et al. 2013).

    The leading matrices of `flat` (flat.hidden elements) are updated by Muon (Jordan et al. 2024), with steps as large
    as AdamW's in the root mean square (Liu et al. 2025, arXiv 2502.16982, eq. 4), so that both share one rate.
    """

    def __init__(self, flat: FlatWeights, *, weight_decay: float, beta2: float, clip_norm: float) -> None:
        self.flat, self.clip_norm = flat, clip_norm
        hidden = [slot for slot in flat.slots.values() if slot.start < flat.hidden]
        self.at_once = updates_at_once(flat.master.device)
        cut = _whole if self.at_once else _cut
        decayed, others = cut(flat.hidden, flat.decay), cut(flat.decay, len(flat.master))
        matrices = [_trainable(slot.of(flat.master)) for slot in hidden]
        self.pieces = [_trainable(flat.master[start:end]) for start, end in decayed + others]
        groups = [
            {"params": self.pieces[: len(decayed)], "weight_decay": weight_decay},
            {"params": self.pieces[len(decayed) :], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, beta2), fused=True)
        self.optimizers: list[torch.optim.Optimizer] = [self.adamw]
        if matrices:
            self.muon = (BatchedMuon if self.at_once else torch.optim.Muon)(
                matrices, lr=0.0, weight_decay=weight_decay, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw"
            )
            self.optimizers.append(self.muon)
        self.matrices = matrices
        self.bounds = [(slot.start, slot.start + slot.shape.numel()) for slot in hidden] + decayed + others
        longest = len(flat.master) if self.at_once else max(end - start for start, end in self.bounds)
        self.scratch = torch.empty(longest, device=flat.master.device)
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
        pieces = [(0, len(source))] if self.at_once else self.bounds
        norm = float(torch.stack([torch.linalg.vector_norm(self._piece(source, a, b)) for a, b in pieces]).norm())
        if math.isfinite(norm):
            self._update(source, learning_rate, min(1.0, self.clip_norm / (norm + 1e-6)) if self.clip_norm else 1.0)
        source.zero_()
        self.summed = False
        return norm

    def _update(self, source: Tensor, learning_rate: float, shrink: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        if self.at_once:
            self._update_at_once(source, shrink)
            return
        for piece, (start, end) in zip(self.matrices + self.pieces, self.bounds, strict=True):
            piece.grad = self._piece(source, start, end).mul_(shrink).view(piece.shape)
            for optimizer in self.optimizers:
                optimizer.step()  # touches what has a gradient
            piece.grad = None
            if self.flat.compute is not self.flat.master:
                self.flat.compute[start:end].copy_(piece.detach().flatten())

    def _update_at_once(self, source: Tensor, shrink: float) -> None:
        gradient = self._piece(source, 0, len(source)).mul_(shrink)
        for piece, (start, end) in zip(self.matrices + self.pieces, self.bounds, strict=True):
            piece.grad = gradient[start:end].view(piece.shape)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.flat.publish()

    def _piece(self, source: Tensor, start: int, end: int) -> Tensor:
        return self.scratch[: end - start].copy_(source[start:end])

    def forget(self) -> None:
        """Become as new: no moments, no steps."""
        for optimizer in self.optimizers:
            optimizer.state.clear()

    def state(self) -> dict[str, Tensor]:
        """Moments as flat tensors and the step count, for a checkpoint. momentum covers Muon's matrices, the others
        the rest."""
        if not self.adamw.state:
            zeros = torch.zeros_like(self.flat.master)
            rest = zeros[self.flat.hidden :]
            return {"exp_avg": rest, "exp_avg_sq": rest.clone(), "steps": torch.zeros(1)} | self._momentum(zeros)
        states = [self.adamw.state[piece] for piece in self.pieces]
        moments = {name: torch.cat([state[name] for state in states]) for name in ("exp_avg", "exp_avg_sq")}
        momenta = [self.muon.state[matrix]["momentum_buffer"].flatten() for matrix in self.matrices]
        return moments | {"steps": states[0]["step"].reshape(1).cpu()} | self._momentum(*momenta)

    def _momentum(self, *parts: Tensor) -> dict[str, Tensor]:
        return {"momentum": torch.cat(parts)[: self.flat.hidden].clone()} if self.matrices else {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Set what `state` returned; zero steps mean an untouched optimizer."""
        self.forget()
        if not float(state["steps"]):
            return
        device, count = self.flat.master.device, len(self.matrices)
        for matrix, (start, end) in zip(self.matrices, self.bounds, strict=False):
            momentum = state["momentum"][start:end].view(matrix.shape)
            self.muon.state[matrix] = {"momentum_buffer": momentum.clone().to(device)}
        for piece, (start, end) in zip(self.pieces, self.bounds[count:], strict=True):
            span = slice(start - self.flat.hidden, end - self.flat.hidden)
            moments = {name: state[name][span].clone().to(device) for name in ("exp_avg", "exp_avg_sq")}
            self.adamw.state[piece] = {"step": state["steps"][0].clone().to(device), **moments}


def _trainable(view: Tensor) -> Tensor:
    return view.detach().requires_grad_()


def _cut(start: int, end: int) -> list[tuple[int, int]]:
    return [(a, min(a + PIECE, end)) for a in range(start, end, PIECE)]


def _whole(start: int, end: int) -> list[tuple[int, int]]:
    return [(start, end)] if end > start else []
