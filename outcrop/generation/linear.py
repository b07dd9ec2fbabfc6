"""Matrix products with frozen weights, laid out once for the processor (oneDNN) where that is possible.

Few rows are bound by reading the weights. There, bf16 weights are multiplied as halves by FBGEMM with fp32 numbers:
every bf16 number from 2⁻¹⁷ to 65,504 is a half, smaller ones are rounded by 2⁻²⁵ at most.

Shape letters: T tokens, I input width, O output width.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from outcrop.models.int8 import floats_of

PACKED_DTYPES = (torch.float32, torch.bfloat16)
FEW_ROWS = 4
"""Up to here halves are faster (measured in benchmarks/generation/tried.md)."""
LARGEST_HALF = 65504.0
# Named once: finding an operator by its name takes as long as a small product.
_pack = torch.ops.mkldnn._reorder_linear_weight.default
_product = torch.ops.mkldnn._linear_pointwise.default
_product_with = torch.ops.mkldnn._linear_pointwise.binary
# torch calls these two deprecated; what replaces them takes 11 µs more, half of a small product. Without them, oneDNN.
_pack_halves: Any = getattr(torch, "fbgemm_pack_gemm_matrix_fp16", None)
_product_of_halves: Any = getattr(torch, "fbgemm_linear_fp16_weight_fp32_activation", None)


class Linear:
    """x·Wᵀ + b with a copy of the weight in the layout that the processor multiplies fastest.

    Measured on one AVX512 core: 1.3 times the speed of F.linear in bf16, 2 times in fp32 from 8 rows on. In bf16 the
    first pass of at most `few_rows` makes a second copy, which is twice as fast again for as few.
    """

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None = None, few_rows: int = FEW_ROWS) -> None:
        weight_OI = weight_OI.detach().contiguous()
        self.inputs, self.outputs = weight_OI.shape[1], weight_OI.shape[0]
        self.bias = None if bias_O is None else bias_O.detach().clone()
        self.packed = can_pack(weight_OI)
        self.weight = _pack(weight_OI, None) if self.packed else weight_OI
        self._dtype = weight_OI.dtype
        self._few = few_rows if can_halve(weight_OI) else 0
        self._halves: Any = None
        self._bias_of_halves: Tensor | None = None

    @classmethod
    def joined(cls, layers: Sequence[Any]) -> Linear:
        """Linear layers of the same input as one product, their outputs side by side."""
        weight = torch.cat([floats_of(layer) for layer in layers])
        if all(layer.bias is None for layer in layers):
            return cls(weight)
        zeros = [weight.new_zeros(layer.out_features) for layer in layers]
        biases = [zero if layer.bias is None else layer.bias for layer, zero in zip(layers, zeros, strict=True)]
        return cls(weight, torch.cat(biases))

    def __call__(self, x_TI: Tensor) -> Tensor:
        """[T, O]."""
        return self.unrounded(x_TI).to(x_TI.dtype)

    def unrounded(self, x_TI: Tensor) -> Tensor:
        """[T, O] in fp32 where halves are multiplied, elsewhere in the weight's dtype; so may the input be."""
        if len(x_TI) <= self._few:
            return self._by_halves(x_TI)
        x_TI = x_TI.to(self._dtype)
        if self.packed:
            return _product(x_TI, self.weight, self.bias, "none", [], "")
        return F.linear(x_TI, self.weight, self.bias)

    def plus(self, x_TI: Tensor, other_TO: Tensor) -> Tensor:
        """other + x·Wᵀ + b, added before rounding where the weight is packed."""
        if len(x_TI) <= self._few:
            return self._by_halves(x_TI).add_(other_TO).to(other_TO.dtype)
        x_TI = x_TI.to(self._dtype)
        if self.packed:
            return _product_with(x_TI, other_TO, self.weight, self.bias, "add")
        return other_TO + F.linear(x_TI, self.weight, self.bias)

    def _by_halves(self, x_TI: Tensor) -> Tensor:
        """[T, O] in fp32."""
        if self._halves is None:
            self._halves = _pack_halves(self.weight.to_dense().float())
            self._bias_of_halves = None if self.bias is None else self.bias.float()
        return _product_of_halves(x_TI.float(), self._halves, self._bias_of_halves)


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN takes this weight: in bf16 only where the processor has instructions for it."""
    if weight.device.type != "cpu" or weight.dtype not in PACKED_DTYPES or not torch.backends.mkldnn.is_available():
        return False
    return bool(weight.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported())


def can_halve(weight: Tensor) -> bool:
    """Whether FBGEMM takes this weight, and it loses nothing that counts as halves."""
    there = weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    return bool(there and _has_halves() and weight.abs().max() <= LARGEST_HALF)


@cache
def _has_halves() -> bool:
    """Whether this processor has products of halves. torch warns of them once, here."""
    if not (_pack_halves and _product_of_halves and "fbgemm" in torch.backends.quantized.supported_engines):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = torch.eye(8)
        return torch.equal(_product_of_halves(one, _pack_halves(one), None), one)
