"""Products of whole numbers equal those of the numbers that they stand for, for every token by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.core.engines import ModelRef
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.int8_linear import Int8Product, can_multiply
from outcrop.generation.linear import Linear
from outcrop.generation.scheduling import Capacity
from outcrop.generation.serving import open_engine
from outcrop.generation.trunk import open_trunk
from outcrop.models.int8 import Int8Linear, quantise, quantise_folder
from outcrop.models.loading import load_model
from tests.models.folders import write_model

pytestmark = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this processor has no VNNI")


def layer(outputs: int, inputs: int, seed: int = 0, *, bias: bool = False) -> Int8Linear:
    generator = torch.Generator().manual_seed(seed)
    stored = quantise(torch.randn(outputs, inputs, generator=generator))
    made = Int8Linear(nn.Parameter(stored.values_OI, requires_grad=False), stored.scale_O, None)
    made.bias = nn.Parameter(torch.randn(outputs, generator=generator)) if bias else None
    return made


def rounded(x: torch.Tensor) -> torch.Tensor:
    """The inputs at their nearest of 127 levels to each side, each token with its own scale."""
    step = x.abs().amax(-1, keepdim=True).clamp_min(1e-30) / 127
    return (x / step).round() * step


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
@pytest.mark.parametrize("bias", [False, True])
def test_products_are_those_of_the_rounded_inputs_and_the_floats(rows: int, bias: bool) -> None:
    parts = [layer(24, 40, seed, bias=bias and seed == 1) for seed in range(3)]
    x = torch.randn(rows, 40, generator=torch.Generator().manual_seed(9)) * torch.logspace(-3, 3, rows)[:, None]
    product, floats = Int8Product.joined(parts), Linear.joined(parts)
    assert (product.inputs, product.outputs) == (floats.inputs, floats.outputs) == (40, 72)
    expected = floats(rounded(x))
    bound = 1e-5 * float(expected.abs().max())
    assert float((product(x) - expected).abs().max()) < bound
    other = torch.randn(rows, 72)
    assert float((product.plus(x, other) - (other + expected)).abs().max()) < bound


def test_a_token_depends_on_no_other() -> None:
    product, x = Int8Product.joined([layer(32, 64)]), torch.randn(9, 64)
    x[4] *= 1000
    x[5] = 0
    alone = torch.cat([product(row[None]) for row in x])
    assert torch.equal(product(x), alone)
    assert torch.equal(alone[5], torch.zeros(32))


def test_only_int8_layers_are_multiplied_so() -> None:
    assert can_multiply([layer(4, 4)])
    assert not can_multiply([layer(4, 4), nn.Linear(4, 4)])


def test_the_engine_answers_as_the_floats_do_where_their_choice_is_clear(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    quantise_folder(folder)
    loaded = load_model(str(folder))
    assert type(open_trunk(loaded.model)).__name__ == "Decoder"
    engine = EmbeddedEngine(loaded.model, loaded.tokenizer)
    compared = 0
    for number in range(12):
        ids = tuple((1 + torch.arange(6) * (7 + number) % 60).tolist())
        (found,) = engine.complete([CompletionRequest(ids, Sampling(max_new_tokens=4))])
        text = list(ids)
        for token in found.token_ids:
            with torch.inference_mode():
                logits = loaded.model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1]
            first, second = logits.topk(2).values.tolist()
            if first - second > 0.1 * float(logits.abs().max()):
                assert token == int(logits.argmax())
                compared += 1
            text.append(token)
    assert compared > 5
    served = open_engine(ModelRef(str(folder), "bfloat16"), Capacity())
    assert served.trunk.cache_shape.dtype == torch.float32
    many = engine.complete([CompletionRequest((1, 5, 9 + n), Sampling(max_new_tokens=4)) for n in range(6)])
    alone = [engine.complete([CompletionRequest((1, 5, 9 + n), Sampling(max_new_tokens=4))])[0] for n in range(6)]
    assert [each.token_ids for each in many] == [each.token_ids for each in alone]
    assert json.loads((folder / "config.json").read_text())["quantization_config"]
