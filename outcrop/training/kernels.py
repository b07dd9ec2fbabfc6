"""Differentiable pieces with hand-written backward passes: few passes over memory, nothing kept that can be had again.

Shapes: T flat tokens, E embedding, M supervised tokens, V vocabulary, R rank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


class RMSNorm(Function):
    """Root-mean-square norm (Zhang and Sennrich 2019, eq. 4): x · weight / sqrt(mean(x²) + eps), statistics in fp32."""

    @staticmethod
    def forward(ctx: Any, x_TE: Tensor, weight_E: Tensor, eps: float) -> Tensor:
        x32 = x_TE.float()
        scale_T1 = torch.rsqrt(x32.square().mean(-1, keepdim=True).add_(eps))
        normed = (x32 * scale_T1).to(x_TE.dtype)
        ctx.save_for_backward(normed, weight_E, scale_T1)
        return normed * weight_E

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad, (normed, weight_E, scale_T1) = grads[0], ctx.saved_tensors
        grad_weight = (grad * normed).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        scaled = (grad * weight_E).float()
        inner = (scaled * normed).mean(-1, keepdim=True)
        grad_x = torch.addcmul(scaled, normed, inner, value=-1).mul_(scale_T1)
        return grad_x.to(grad.dtype), grad_weight, None


def rms_norm(x_TE: Tensor, weight_E: Tensor, eps: float) -> Tensor:
    """RMSNorm by the fused kernel where the device has one."""
    return F.rms_norm(x_TE, weight_E.shape, weight_E, eps) if x_TE.is_cuda else RMSNorm.apply(x_TE, weight_E, eps)


class SwiGLU(Function):
    """silu(gate) · up (Shazeer 2020, eq. 6); silu is computed again in the backward pass, not kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        grad, (gate, up) = grads[0], ctx.saved_tensors
        grad_gate = torch.ops.aten.silu_backward(grad * up, gate)
        return grad_gate, F.silu(gate).mul_(grad)


class LowRankLinear(Function):
    """x·Wᵀ + scale·(d·Aᵀ)·Bᵀ with W frozen (Hu et al. 2021, eq. 3); d is x, or x after adapter dropout.

    x, d [..., I], base: W [O, I] and its bias or None, A [R, I], B [O, R]. The frozen weight costs one product in the
    backward pass, not two.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dropped: Tensor, base: tuple[Tensor, Tensor | None], scale: float, A: Tensor, B: Tensor
    ) -> Tensor:
        weight, bias = base
        low = F.linear(dropped, A).mul_(scale)
        out = F.linear(x, weight, bias)
        out.view(-1, out.shape[-1]).addmm_(low.flatten(0, -2), B.t())
        ctx.save_for_backward(dropped, weight, low, A, B)
        ctx.scale, ctx.same = scale, dropped is x or dropped.data_ptr() == x.data_ptr()
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        dropped, weight, low, A, B = ctx.saved_tensors
        grad, x = grads[0].flatten(0, -2), dropped.flatten(0, -2)
        grad_B = grad.t() @ low.flatten(0, -2)
        grad_low = (grad @ B).mul_(ctx.scale)
        grad_A = grad_low.t() @ x
        grad_x = grad_dropped = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ weight
            if ctx.same:
                grad_x.addmm_(grad_low, A)
            else:
                grad_dropped = (grad_low @ A).view_as(dropped)
            grad_x = grad_x.view_as(dropped)
        return grad_x, grad_dropped, None, None, grad_A, grad_B


CHUNK, ACCELERATOR_LOGITS = 512, 1 << 27
"""Rows of logits alive at once on a CPU, whose cache they should stay in; numbers of them elsewhere."""


def chunk_rows(head: Tensor) -> int:
    """How many rows of logits, each of V numbers, are computed at once with a head [V, E]."""
    return CHUNK if head.device.type == "cpu" else max(CHUNK, ACCELERATOR_LOGITS // len(head))


class LinearCrossEntropy(Function):
    """Weighted cross-entropy of hidden·Wᵀ with label smoothing, its gradient taken in the forward pass, chunk by chunk.

    hidden [M, E], weight [V, E], targets [M], weights [M] (already divided by the total weight of the step).
    Returns (Σ weights · loss, Σ weights · negative log-likelihood): the second has no smoothing in it.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = torch.empty_like(weight) if len(targets) else torch.zeros_like(weight)
        total, plain = hidden.new_zeros(2, dtype=torch.float32).unbind()
        chunk = chunk_rows(weight)
        for start in range(0, len(targets), chunk):
            rows = slice(start, start + chunk)
            part, wanted, share = hidden[rows], targets[rows, None], weights[rows, None]
            logprobs = torch.log_softmax(F.linear(part, weight).float(), -1)
            nll = -logprobs.gather(1, wanted)
            loss = nll * (1 - smoothing) - logprobs.mean(-1, keepdim=True) * smoothing if smoothing else nll
            total, plain = total + (loss * share).sum(), plain + (nll * share).sum()
            if grad_hidden is None and grad_weight is None:
                continue
            grad = logprobs.exp_().scatter_add_(1, wanted, torch.full_like(nll, smoothing - 1))
            grad = (grad.sub_(smoothing / weight.shape[0]) if smoothing else grad).mul_(share).to(part.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = grad @ weight
            if grad_weight is not None:
                grad_weight.addmm_(grad.t(), part, beta=1 if start else 0)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total, plain

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        scale, (grad_hidden, grad_weight) = grads[0], ctx.saved_tensors
        scaled = [None if g is None else g.mul_(scale) for g in (grad_hidden, grad_weight)]
        return scaled[0], scaled[1], None, None, None


class Embedding(Function):
    """Rows of a table. The gradient is summed in fp32 over distinct ids, rounded once, and added to `table.grad` in
    place: a dense gradient of the whole table would cost more than the rest of a small model's step."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, table_VE: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.table = table_VE
        return table_VE.index_select(0, ids)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        table, grad = ctx.table, grads[0]
        if table.grad is None:
            table.grad = torch.zeros_like(table)
        if grad.is_cuda:  # sums in fp32, too, and has no need to know how many distinct ids there are
            ids = ctx.saved_tensors[0]
            table.grad.add_(torch.ops.aten.embedding_dense_backward(grad, ids, len(table), -1, False))
            return None, None
        distinct, inverse = torch.unique(ctx.saved_tensors[0], return_inverse=True)
        sums = torch.zeros(len(distinct), table.shape[1], device=grad.device).index_add_(0, inverse, grad.float())
        table.grad.index_add_(0, distinct, sums.to(table.dtype))
        return None, None
