"""Matrix products with int8 weights: inputs are rounded to int8, too, and whole numbers are multiplied (oneDNN).

Shape letters: T tokens, I input width, O output width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from outcrop.models.int8 import HIGHEST, Int8Linear

SMALLEST = 1e-30
"""In place of the largest number of an input of zeros."""


class Int8Product:
    """x·Wᵀ + b with the weight in int8. Every token's input has a scale of its own, its largest number at the highest
    level, and sums of whole numbers are exact: what a token gives depends on no other token beside it.

    Measured on one AVX512 core: whole students at 1.3 to 2.1 times the speed of packed fp32, up to 1.3 times that of
    bf16 (benchmarks/distillation/int8.py). fbgemm is faster, with one scale for all tokens.
    """

    def __init__(self, values_OI: Tensor, scale_O: Tensor, bias_O: Tensor | None = None) -> None:
        self.outputs, self.inputs = values_OI.shape
        self.bias = None if bias_O is None else bias_O.detach()
        self._values_IO, self._scale_O = values_OI.detach().t(), scale_O

    @classmethod
    def joined(cls, layers: Sequence[Int8Linear]) -> Int8Product:
        """Layers of the same input as one product, their outputs side by side."""
        if len(layers) == 1:
            return cls(layers[0].weight, layers[0].weight_scale, layers[0].bias)
        values, scale = torch.cat([each.weight for each in layers]), torch.cat([each.weight_scale for each in layers])
        if all(each.bias is None for each in layers):
            return cls(values, scale)
        zeros = [each.weight_scale.new_zeros(each.out_features) for each in layers]
        biases = [zero if each.bias is None else each.bias for each, zero in zip(layers, zeros, strict=True)]
        return cls(values, scale, torch.cat(biases))

    def __call__(self, x_TI: Tensor) -> Tensor:
        """[T, O]."""
        y_TO, step_T1 = self._multiplied(x_TI)
        return y_TO.mul_(step_T1) if self.bias is None else torch.addcmul(self.bias, y_TO, step_T1)

    def plus(self, x_TI: Tensor, other_TO: Tensor) -> Tensor:
        """other + x·Wᵀ + b."""
        y_TO, step_T1 = self._multiplied(x_TI)
        return torch.addcmul(other_TO if self.bias is None else other_TO + self.bias, y_TO, step_T1)

    def _multiplied(self, x_TI: Tensor) -> tuple[Tensor, Tensor]:
        """The product with inputs counted in steps, and the step of each token."""
        step_T1 = x_TI.abs().amax(-1, keepdim=True).clamp_min_(SMALLEST).div_(HIGHEST)
        steps_TI = (x_TI / step_T1).round_().to(torch.int8)
        return torch._int_mm(steps_TI, self._values_IO) * self._scale_O, step_T1


def can_multiply(layers: Sequence[Any]) -> bool:
    """Whether all layers are int8 and the processor adds products of int8 in 32 bits: without VNNI they may not fit."""
    there = all(type(layer) is Int8Linear and layer.weight.device.type == "cpu" for layer in layers)
    return there and adds_in_32_bits()


def adds_in_32_bits() -> bool:
    """Whether this processor has an instruction for it, and torch a product that takes it."""
    return torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()
