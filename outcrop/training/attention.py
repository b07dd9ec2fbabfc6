"""Attention of documents that lie end to end: by the flash kernel where the device has it, else by padded groups.

Shapes: T flat tokens, N documents, S padded length, H heads, K key-value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.nn.attention.varlen import varlen_attn

from outcrop.training.layout import Attention, HeadTables

WIDEST_FLASH_HEAD = 256


@torch.compiler.disable
def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, attention: Attention) -> Tensor:
    """Causal attention within each document of a flat batch: q [T, H, D], k, v [T, K, D] → [T, H, D]."""
    if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16) and _flash_width(q.shape[2]):
        return _attend_by_bounds(q, k, v, scale, attention)
    return DocumentAttention.apply(q, k, v, scale, attention)


def _flash_width(width: int) -> bool:
    return width <= WIDEST_FLASH_HEAD and width % 8 == 0


def _attend_by_bounds(q: Tensor, k: Tensor, v: Tensor, scale: float, attention: Attention) -> Tensor:
    """FlashAttention-2 over sequences of any length (Dao 2023); a shared prefix stands before each one's keys."""
    bounds = attention.bounds
    if attention.shared:
        k, v = (KeysWithPrefix.apply(x, attention) for x in (k, v))
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    lengths = bounds.queries, bounds.keys, bounds.longest_query, bounds.longest_key
    output = varlen_attn(q.contiguous(), k, v, *lengths, scale=scale, window_size=(-1, 0))
    assert isinstance(output, Tensor)
    return output


class KeysWithPrefix(Function):
    """Keys or values [T, K, D] → [all documents' keys, K, D], each document's own after a copy of the shared prefix,
    whose gradients are summed in fp32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, attention: Attention) -> Tensor:
        ctx.attention = attention
        return x.index_select(0, attention.bounds.key_rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad, bounds, shared = grads[0], ctx.attention.bounds, ctx.attention.shared
        out = grad.index_select(0, bounds.own_keys)
        copies = grad.index_select(0, bounds.prefix_keys).view(-1, shared, *grad.shape[1:])
        out[:shared] += copies.sum(0, dtype=torch.float32).to(grad.dtype)
        return out, None


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
