"""Packed products are plain ones, of a copy of the weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from outcrop.generation import linear
from outcrop.generation.linear import FEW_ROWS, Linear, can_halve, can_pack

NEAR = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1, 64])
@pytest.mark.parametrize("biased", [True, False])
def test_products_are_those_of_torch(dtype: torch.dtype, rows: int, biased: bool) -> None:
    torch.manual_seed(rows)
    layers = [nn.Linear(48, outputs, bias=biased and outputs != 8, dtype=dtype) for outputs in (32, 8)]
    x, other = torch.randn(rows, 48, dtype=dtype), torch.randn(rows, 32, dtype=dtype)
    with torch.inference_mode():
        single, joined = Linear(layers[0].weight, layers[0].bias), Linear.joined(layers)
        assert single.packed == can_pack(layers[0].weight)
        near = {"rtol": NEAR[dtype], "atol": NEAR[dtype]}
        expected = [F.linear(x, layer.weight, layer.bias) for layer in layers]
        torch.testing.assert_close(single(x), expected[0], **near)
        torch.testing.assert_close(single.plus(x, other), other + expected[0], **near)
        torch.testing.assert_close(joined(x), torch.cat(expected, -1), **near)
        for form in (x, x if dtype == torch.float64 else x.float()):
            torch.testing.assert_close(single.unrounded(form).to(dtype), expected[0], **near)
            torch.testing.assert_close(single.plus(form, other), other + expected[0], **near)


@pytest.mark.parametrize("rows", [1, 64])
def test_a_processor_without_bf16_multiplies_plainly(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "can_pack", lambda weight: False)
    layer, x = nn.Linear(48, 32, dtype=torch.bfloat16), torch.randn(rows, 48, dtype=torch.bfloat16)
    with torch.inference_mode():
        made = Linear(layer.weight, layer.bias)
        assert not made.packed
        torch.testing.assert_close(made(x), layer(x), rtol=2e-2, atol=2e-2)
        torch.testing.assert_close(made.plus(x, layer(x)), 2 * layer(x), rtol=2e-2, atol=2e-2)


def test_the_model_s_own_weights_may_change() -> None:
    layer = nn.Linear(16, 16)
    x = torch.randn(3, 16)
    made = Linear(layer.weight, layer.bias)
    before = made(x)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    assert torch.equal(made(x), before)


def test_every_size_of_number_is_multiplied_as_it_is() -> None:
    powers = torch.arange(-17, 16).to(torch.bfloat16).exp2()
    weight = torch.diag(powers * 1.9921875)  # all bits of the significand
    made = Linear(weight)
    assert torch.equal(made(torch.ones(1, len(powers), dtype=torch.bfloat16))[0], weight.diagonal())
    tiny = Linear(torch.full((8, 8), 2.0**-30, dtype=torch.bfloat16))
    assert float(tiny(torch.ones(1, 8, dtype=torch.bfloat16)).abs().max()) <= 8 * 2.0**-25


def test_numbers_that_no_half_holds_stay_as_they_are() -> None:
    weight = torch.tensor([[1e5, 1.0], [1.0, -1e30]], dtype=torch.bfloat16)
    assert not can_halve(weight)
    assert torch.equal(Linear(weight)(torch.eye(2, dtype=torch.bfloat16)), weight.t())
