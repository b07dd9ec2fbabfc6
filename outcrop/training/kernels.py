"""Differentiable pieces with hand-written backward passes: few passes over memory, nothing kept that can be had again.

Shapes: T flat tokens, N documents, S padded length, H heads, K key-value heads, D head width,
E embedding, M supervised tokens, V vocabulary, R rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from outcrop.training.layout import Attention, HeadTables


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


class DocumentAttention(Function):
    """Causal attention within each document of a flat batch: q [T, H, D], k, v [T, K, D] → [T, H, D].

    Documents are gathered into groups of like length; softmax runs in fp32 inside its kernel. The backward pass
    gathers through the inverse tables instead of scattering, and sums what shared prefix rows received.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, attention: Attention) -> Tensor:
        queries, keys = attention.tables("query", q.shape[1]), attention.tables("key", k.shape[1])
        Q, K, V = _gather(q, queries), _gather(k, keys), _gather(v, keys)
        output = torch.empty_like(Q)
        parts = _grouped(attention, k.shape[1], (Q, queries), (K, keys), (V, keys), (output, queries))
        weights = [_attend(part, group.mask, scale) for group, part in zip(attention.groups, parts, strict=True)]
        ctx.save_for_backward(Q, K, V, *weights)
        ctx.attention, ctx.scale, ctx.tables, ctx.shapes = attention, scale, (queries, keys), (q.shape, k.shape)
        return output.index_select(0, queries.back).view(q.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        attention: Attention = ctx.attention
        (queries, keys), (shape, kv_shape) = ctx.tables, ctx.shapes
        Q, K, V, *weights = ctx.saved_tensors
        grad_Q, grad_K, grad_V = torch.empty_like(Q), torch.empty_like(K), torch.empty_like(V)
        inputs = ((_gather(grads[0], queries), queries), (Q, queries), (K, keys), (V, keys))
        outputs = ((grad_Q, queries), (grad_K, keys), (grad_V, keys))
        groups = (_grouped(attention, kv_shape[1], *tensors) for tensors in (inputs, outputs))
        for given, made, kept in zip(*groups, weights, strict=True):
            _attend_backward(given, made, kept, ctx.scale)
        grad_q = grad_Q.index_select(0, queries.back).view(shape)
        grad_k, grad_v = (_key_gradient(grad, keys, attention, kv_shape) for grad in (grad_K, grad_V))
        return grad_q, grad_k, grad_v, None, None


def _gather(flat: Tensor, table: HeadTables) -> Tensor:
    """[T, H, D] → [sum N*H*S, D]: the heads of documents, group after group; pads are zeros."""
    padded = torch.cat([flat, flat.new_zeros(1, *flat.shape[1:])])
    return padded.view(-1, flat.shape[2]).index_select(0, table.gather)


def _grouped(attention: Attention, kv: int, *gathered: tuple[Tensor, HeadTables]) -> Iterator[tuple[Tensor, ...]]:
    """Views of the gathered tensors, group by group: [N*K, H/K*S, D] of queries, [N*K, L, D] of keys."""
    splits = [tensor.split(table.sizes) for tensor, table in gathered]
    for group, *parts in zip(attention.groups, *splits, strict=True):
        yield tuple(part.view(group.documents * kv, -1, part.shape[1]) for part in parts)


def _key_gradient(grad: Tensor, table: HeadTables, attention: Attention, shape: torch.Size) -> Tensor:
    """Back to [T, K, D]; shared rows get the sum over all documents that saw them."""
    out = grad.index_select(0, table.back).view(shape)
    if attention.shared:
        groups = zip(attention.groups[1:], grad.split(table.sizes)[1:], strict=True)
        for group, part in groups:
            shared = part.view(group.documents, shape[1], -1, shape[2])[:, :, : attention.shared]
            out[: attention.shared] += shared.sum(0).transpose(0, 1)
    return out


def _attend(part: tuple[Tensor, ...], mask: Tensor | None, scale: float) -> Tensor | None:
    """Attention of one group, (Q, K, V, output to fill); returns its weights. Query heads of one key head are folded
    into rows."""
    Q, K, V, output = part
    if mask is None:
        output.copy_(_long(Q, K, V, scale))
        return None
    bias = torch.where(mask, 0.0, -torch.inf).to(Q.dtype).repeat(1, Q.shape[1] // mask.shape[1], 1)
    weights = torch.softmax(torch.baddbmm(bias, Q, K.transpose(1, 2), alpha=scale), -1)
    torch.bmm(weights, V, out=output)
    return weights


def _attend_backward(
    inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], weights: Tensor | None, scale: float
) -> None:
    """Gradients of one group, from (gradient of the output, Q, K, V) into (grad_Q, grad_K, grad_V)."""
    (grad, Q, K, V), (grad_Q, grad_K, grad_V) = inputs, outputs
    if weights is None:
        _long_backward(grad, inputs[1:], outputs, scale)
        return
    torch.bmm(weights.transpose(1, 2), grad, out=grad_V)
    grad_weights = torch.bmm(grad, V.transpose(1, 2))
    grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
    grad_scores.mul_(scale)
    torch.bmm(grad_scores, K, out=grad_Q)
    torch.bmm(grad_scores.transpose(1, 2), Q, out=grad_K)


def _long(Q: Tensor, K: Tensor, V: Tensor, scale: float) -> Tensor:
    """One long document: blockwise attention without the [S, S] matrix (Dao et al. 2022)."""
    _, S, D = K.shape
    keys, values = (x.repeat_interleave(Q.shape[1] // S, 0)[None] for x in (K, V))
    return F.scaled_dot_product_attention(Q.view(1, -1, S, D), keys, values, is_causal=True, scale=scale).view(Q.shape)


def _long_backward(grad: Tensor, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], scale: float) -> None:
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in inputs]
        grads = torch.autograd.grad(_long(leaves[0], leaves[1], leaves[2], scale), leaves, grad)
    for output, found in zip(outputs, grads, strict=True):
        output.copy_(found)


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
