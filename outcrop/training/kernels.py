"""Differentiable pieces with hand-written backward passes: few passes over memory, nothing kept that can be had again.

Shapes: T flat tokens, N documents, S padded length, H heads, K key-value heads, D head width,
E embedding, M supervised tokens, V vocabulary, R rank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from outcrop.training.layout import Attention, Group


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


def _gather(flat: Tensor, rows: Tensor, documents: int) -> Tensor:
    """[T+1, H, D] rows → [N, H, S, D], contiguous."""
    picked = flat.index_select(0, rows)
    return picked.view(documents, -1, *flat.shape[1:]).transpose(1, 2).contiguous()


def _padded(flat: Tensor) -> Tensor:
    """With a row of zeros appended, which pads point at."""
    return torch.cat([flat, flat.new_zeros(1, *flat.shape[1:])])


class DocumentAttention(Function):
    """Causal attention within each document of a flat batch: q [T, H, D], k, v [T, K, D] → [T, H, D].

    Documents are gathered into groups of like length; softmax runs in fp32 inside its kernel. The backward pass
    gathers through the inverse tables instead of scattering, and sums what shared prefix rows received.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, attention: Attention) -> Tensor:
        q, k, v = _padded(q * scale), _padded(k), _padded(v)
        outputs, saved = [], []
        for group in attention.groups:
            Q = _gather(q, group.query_rows, group.documents)
            K, V = (_gather(x, group.key_rows, group.documents) for x in (k, v))
            output, weights = _attend(Q, K, V, group)
            saved += [Q, K, V, weights]
            outputs.append(output)
        ctx.save_for_backward(*saved)
        ctx.attention, ctx.scale = attention, scale
        return _slots(outputs).index_select(0, attention.query_slot)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        attention: Attention = ctx.attention
        saved, padded = iter(ctx.saved_tensors), _padded(grads[0])
        grad_Qs, grad_Ks, grad_Vs = [], [], []
        for group in attention.groups:
            grad = _gather(padded, group.query_rows, group.documents)
            Q, K, V, weights = (next(saved) for _ in range(4))
            grad_Q, grad_K, grad_V = _attend_backward(grad, Q, K, V, weights, group)
            grad_Qs.append(grad_Q)
            grad_Ks.append(grad_K)
            grad_Vs.append(grad_V)
        grad_q = _slots(grad_Qs).index_select(0, attention.query_slot).mul_(ctx.scale)
        return grad_q, _key_gradient(grad_Ks, attention), _key_gradient(grad_Vs, attention), None, None


def _slots(parts: list[Tensor]) -> Tensor:
    """[N, H, S, D] of each group → [all slots, H, D]."""
    flat = [part.transpose(1, 2).reshape(-1, part.shape[1], part.shape[3]) for part in parts]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def _key_gradient(parts: list[Tensor], attention: Attention) -> Tensor:
    """[N, K, P+S, D] per group → [T, K, D]; shared rows get the sum over all documents that saw them."""
    out = _slots(parts).index_select(0, attention.key_slot)
    if attention.shared:
        for part in parts[1:]:
            out[: attention.shared] += part[:, :, : attention.shared].sum(0).transpose(0, 1)
    return out


def _attend(Q: Tensor, K: Tensor, V: Tensor, group: Group) -> tuple[Tensor, Tensor | None]:
    """Attention of one group and its weights. Query heads of one key head are folded into rows."""
    N, H, Sq, D = Q.shape
    kv, Sk = K.shape[1], K.shape[2]
    if group.mask is None:
        return _long(Q, K, V), None
    scores = torch.matmul(Q.view(N, kv, H // kv * Sq, D), K.transpose(-1, -2)).view(N, H, Sq, Sk)
    scores.masked_fill_(~group.mask[:, None], float("-inf"))
    weights = torch.softmax(scores, -1)
    output = torch.matmul(weights.view(N, kv, H // kv * Sq, Sk), V).view(N, H, Sq, D)
    return output, weights


def _attend_backward(
    grad: Tensor, Q: Tensor, K: Tensor, V: Tensor, weights: Tensor | None, group: Group
) -> tuple[Tensor, Tensor, Tensor]:
    N, H, Sq, D = Q.shape
    kv, Sk = K.shape[1], K.shape[2]
    if weights is None:
        return _long_backward(grad, Q, K, V)
    folded = (N, kv, H // kv * Sq)
    grad, weights = grad.reshape(*folded, D), weights.view(*folded, Sk)
    grad_V = torch.matmul(weights.transpose(-1, -2), grad)
    grad_weights = torch.matmul(grad, V.transpose(-1, -2))
    grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
    grad_Q = torch.matmul(grad_scores, K).view(N, H, Sq, D)
    grad_K = torch.matmul(grad_scores.transpose(-1, -2), Q.view(*folded, D))
    return grad_Q, grad_K, grad_V


def _long(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    """Long documents: blockwise attention without the [S, S] matrix (Dao et al. 2022); queries are already scaled."""
    repeat = Q.shape[1] // K.shape[1]
    keys, values = K.repeat_interleave(repeat, 1), V.repeat_interleave(repeat, 1)
    return F.scaled_dot_product_attention(Q, keys, values, is_causal=True, scale=1.0)


def _long_backward(grad: Tensor, Q: Tensor, K: Tensor, V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in (Q, K, V)]
        grads = torch.autograd.grad(_long(*leaves), leaves, grad)
    return grads[0], grads[1], grads[2]


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


CHUNK = 512
"""Rows of logits alive at once."""


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
        for start in range(0, len(targets), CHUNK):
            rows = slice(start, start + CHUNK)
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
        distinct, inverse = torch.unique(ctx.saved_tensors[0], return_inverse=True)
        sums = torch.zeros(len(distinct), table.shape[1], device=grad.device).index_add_(0, inverse, grad.float())
        if table.grad is None:
            table.grad = torch.zeros_like(table)
        table.grad.index_add_(0, distinct, sums.to(table.dtype))
        return None, None
