"""Every hand-written backward pass against numerical derivatives in float64, or autograd of the plain formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

from outcrop.training import kernels, layout
from outcrop.training.attention import DocumentAttention
from outcrop.training.kernels import Embedding, LinearCrossEntropy, LowRankLinear, RMSNorm, SwiGLU
from outcrop.training.layout import Attention, lay_out
from tests.support.documents import documents


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def leaf(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def same_gradients(ours: Callable[..., Tensor], plain: Callable[..., Tensor], leaves: Sequence[Tensor]) -> None:
    """Values, and gradients under a random weighting of the output, within fp32's rounding."""
    results = [function(*leaves) for function in (ours, plain)]
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)
    weighting = torch.randn_like(results[0])
    one, other = (torch.autograd.grad(result, leaves, weighting) for result in results)
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight


@pytest.mark.parametrize("shape", [(5, 8), (1, 5, 3, 8)])
def test_rms_norm(shape: tuple[int, ...]) -> None:
    leaves = [leaf(*shape, dtype=torch.float32), leaf(8, dtype=torch.float32)]
    same_gradients(lambda x, weight: RMSNorm.apply(x, weight, 1e-6), plain_norm, leaves)


def test_rms_norm_of_strided_rows() -> None:
    leaves = [leaf(3, 5, 8, dtype=torch.float32), leaf(8, dtype=torch.float32)]
    same_gradients(
        lambda x, w: RMSNorm.apply(x.transpose(0, 1), w, 1e-6), lambda x, w: plain_norm(x.transpose(0, 1), w), leaves
    )


def test_rms_norm_keeps_bf16_and_takes_its_statistics_in_fp32() -> None:
    x = (100 + leaf(4, 64, dtype=torch.float32)).detach().bfloat16()
    out = RMSNorm.apply(x, torch.ones(64, dtype=torch.bfloat16), 1e-6)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), plain_norm(x.float(), torch.ones(64)), rtol=2**-8, atol=0)


def test_rms_norm_with_a_frozen_weight() -> None:
    x = leaf(5, 8, dtype=torch.float32)
    weight = torch.randn(8)
    same_gradients(lambda x: RMSNorm.apply(x, weight, 1e-6), lambda x: plain_norm(x, weight), [x])


def test_swiglu() -> None:
    assert gradcheck(SwiGLU.apply, (leaf(4, 6), leaf(4, 6)))
    gate, up = leaf(4, 6), leaf(4, 6)
    torch.testing.assert_close(SwiGLU.apply(gate, up), F.silu(gate) * up)


def attention_of(lengths: Sequence[int], prefix: int) -> Attention:
    return lay_out(documents(lengths, prefix=prefix, answer=1)).attention


@pytest.mark.parametrize("heads", [(2, 2), (4, 2), (2, 1)])
@pytest.mark.parametrize("prefix", [0, 4])
def test_document_attention(heads: tuple[int, int], prefix: int) -> None:
    attention = attention_of([6, 7, 13], prefix)
    assert attention.shared == prefix
    total = 26 - 2 * prefix
    q, k, v = leaf(total, heads[0], 3), leaf(total, heads[1], 3), leaf(total, heads[1], 3)
    assert gradcheck(lambda *qkv: DocumentAttention.apply(*qkv, 0.5, attention), (q, k, v))


def test_document_attention_of_long_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LONG", 4)
    attention = attention_of([3, 5, 6], 0)
    assert [group.mask is None for group in attention.groups] == [False, True, True]
    q, k, v = leaf(14, 4, 3), leaf(14, 2, 3), leaf(14, 2, 3)
    assert gradcheck(lambda *qkv: DocumentAttention.apply(*qkv, 0.5, attention), (q, k, v))


def test_document_attention_is_attention_document_by_document() -> None:
    lengths = [6, 2, 13]
    attention = attention_of(lengths, 0)
    q, k, v = leaf(21, 4, 3), leaf(21, 2, 3), leaf(21, 2, 3)
    ours = DocumentAttention.apply(q, k, v, 0.7, attention)
    parts = [[x.split(lengths)[i].transpose(0, 1) for x in (q, k, v)] for i in range(3)]
    alone = [F.scaled_dot_product_attention(*part, is_causal=True, scale=0.7, enable_gqa=True) for part in parts]
    torch.testing.assert_close(ours, torch.cat([part.transpose(0, 1) for part in alone]))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6)])
def test_low_rank_linear(shape: tuple[int, ...], bias: bool) -> None:
    base = (torch.randn(4, 6, dtype=torch.float64), torch.randn(4, dtype=torch.float64) if bias else None)
    x, dropped, A, B = leaf(*shape), leaf(*shape), leaf(2, 6), leaf(4, 2)
    same = lambda x, A, B: LowRankLinear.apply(x, x, base, 0.3, A, B)  # noqa: E731  as a formula
    assert gradcheck(same, (x, A, B))
    assert gradcheck(lambda x, d, A, B: LowRankLinear.apply(x, d, base, 0.3, A, B), (x, dropped, A, B))
    torch.testing.assert_close(same(x, A, B), F.linear(x, base[0] + 0.3 * B @ A, base[1]))


def plain_loss(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    losses = F.cross_entropy(hidden @ weight.t(), targets, reduction="none", label_smoothing=smoothing)
    return (losses * weights).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("rows", [1, 4, 11])
def test_linear_cross_entropy(rows: int, smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "CHUNK", 4)
    leaves = [leaf(rows, 5, dtype=torch.float32), leaf(9, 5, dtype=torch.float32)]
    targets, weights = torch.randint(9, (rows,)), torch.rand(rows)
    same_gradients(
        lambda h, w: LinearCrossEntropy.apply(h, w, targets, weights, smoothing)[0],
        lambda h, w: plain_loss(h, w, targets, weights, smoothing),
        leaves,
    )
    nll = LinearCrossEntropy.apply(*leaves, targets, weights, smoothing)[1]
    torch.testing.assert_close(nll, plain_loss(*leaves, targets, weights, 0.0))


def test_linear_cross_entropy_scales_with_the_gradient_from_above() -> None:
    hidden, weight = leaf(3, 5, dtype=torch.float32), leaf(9, 5, dtype=torch.float32)
    targets, weights = torch.tensor([0, 8, 8]), torch.ones(3)
    once, twice = (
        torch.autograd.grad(factor * LinearCrossEntropy.apply(hidden, weight, targets, weights, 0.0)[0], hidden)[0]
        for factor in (1, 2)
    )
    torch.testing.assert_close(2 * once, twice)


@pytest.mark.parametrize("trained", [(True, False), (False, True), (False, False)])
def test_linear_cross_entropy_of_frozen_parts(trained: tuple[bool, bool]) -> None:
    parts = [leaf(3, 5, dtype=torch.float32), leaf(9, 5, dtype=torch.float32)]
    frozen = [part if train else part.detach() for part, train in zip(parts, trained, strict=True)]
    rest: tuple[Any, ...] = (torch.tensor([0, 8, 8]), torch.ones(3), 0.0)
    loss = LinearCrossEntropy.apply(*frozen, *rest)[0]
    torch.testing.assert_close(loss, plain_loss(*parts, *rest))
    if any(trained):
        loss.backward()
        plain = torch.autograd.grad(plain_loss(*parts, *rest), parts)
        for part, train, expected in zip(parts, trained, plain, strict=True):
            assert (part.grad is not None) == train
            if train:
                torch.testing.assert_close(part.grad, expected)


def test_linear_cross_entropy_of_no_rows() -> None:
    hidden, weight = leaf(0, 5, dtype=torch.float32), leaf(9, 5, dtype=torch.float32)
    loss, nll = LinearCrossEntropy.apply(hidden, weight, torch.zeros(0, dtype=torch.long), torch.zeros(0), 0.0)
    loss.backward()
    assert loss.item() == nll.item() == 0
    assert weight.grad is not None
    assert not weight.grad.any()


def test_embedding_adds_to_the_gradient_in_place() -> None:
    table, plain = (torch.arange(12.0).view(6, 2).requires_grad_() for _ in range(2))
    kept = torch.full((6, 2), 0.5)
    table.grad, plain.grad = kept, kept.clone()
    ids = torch.tensor([5, 1, 5, 5, 0])
    weighting = torch.randn(5, 2)
    for result in (Embedding.apply(ids, table), F.embedding(ids, plain)):
        assert torch.equal(result, table[ids])
        result.backward(weighting)
    torch.testing.assert_close(kept, plain.grad)
    assert table.grad is kept


def test_embedding_sums_in_fp32_and_rounds_once() -> None:
    """256 gradients of 1 and then 64 of 0.5: a bf16 sum stays at 256."""
    table = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    Embedding.apply(torch.ones(320, dtype=torch.long), table).backward(
        torch.cat([torch.ones(256, 1), torch.full((64, 1), 0.5)]).bfloat16()
    )
    assert table.grad is not None
    assert table.grad[1].item() == 288
