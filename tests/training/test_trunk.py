"""What is exchanged in a model and what is left; dropout; refusals. Exactness: tests/invariants/test_packing.py."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from outcrop.core.errors import ModelError
from outcrop.models import lora
from outcrop.models.lora import LoraShape
from outcrop.training import trunk as trunk_module
from outcrop.training.layout import lay_out
from outcrop.training.trunk import Trunk
from tests.support.documents import documents
from tests.support.families import family
from tests.support.tiny import tiny_model

LAYOUT = lay_out(documents([9, 14, 40], prefix=4))


def exchanged(model: Any) -> set[str]:
    """Names of the classes whose forward pass was replaced."""
    return {type(module).__name__ for module in model.modules() if "forward" in vars(module)}


def test_norms_feed_forwards_and_adapters_of_a_llama_are_exchanged() -> None:
    model = tiny_model()
    lora.attach(model, LoraShape(4, 8.0))
    Trunk(model)
    assert exchanged(model) == {"LlamaRMSNorm", "LlamaMLP", "LoraLinear"}
    assert not any(type(m).__name__ in exchanged(model) and "forward" not in vars(m) for m in model.modules())


@pytest.mark.parametrize(
    ("name", "kernels"), [("gemma", set()), ("qwen3", {"Qwen3RMSNorm", "Qwen3MLP"}), ("gpt2", set())]
)
def test_what_computes_something_else_is_left(name: str, kernels: set[str]) -> None:
    """Gemma's norm adds 1 to its weight, its feed-forward has another activation; GPT-2 has neither."""
    model = family(name)
    Trunk(model)
    assert exchanged(model) == kernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_feed_forward_with_another_activation_is_left(dtype: torch.dtype) -> None:
    model = tiny_model(hidden_act="gelu").to(dtype)
    Trunk(model)
    assert exchanged(model) == {"LlamaRMSNorm"}


def test_a_model_in_bf16_passes_the_check() -> None:
    model = tiny_model().bfloat16()
    hidden = Trunk(model)(LAYOUT)
    exact = Trunk(tiny_model())(LAYOUT)
    assert hidden.dtype == torch.bfloat16
    assert (hidden.float() - exact).norm() / exact.norm() < 0.03


def test_it_costs_little_and_can_be_had_twice() -> None:
    model = tiny_model()
    start = time.perf_counter()
    first = Trunk(model)(LAYOUT)
    assert time.perf_counter() - start < 1
    assert torch.equal(Trunk(model)(LAYOUT), first)


@pytest.mark.parametrize("recompute", [False, True])
def test_the_last_feed_forward_sees_only_rows_that_something_is_asked_of(recompute: bool) -> None:
    """Beside a layout that sends all rows through it: the same hidden states, the same gradients."""
    found = []
    for layout in (LAYOUT, replace(LAYOUT, ends=None)):
        model, seen = tiny_model(), []
        trunk = Trunk(model, recompute=recompute)
        model.train()
        for layer in model.model.layers:
            layer.mlp.down_proj.register_forward_hook(lambda module, given, out, seen=seen: seen.append(given[0].shape))
        hidden = trunk(layout)
        (hidden * torch.arange(1, hidden.numel() + 1).view_as(hidden).remainder(7)).sum().backward()
        found.append((hidden.detach(), [parameter.grad for parameter in model.parameters()], seen[-1][-2]))
    (hidden, grads, few), (expected, whole, all_rows) = found
    assert all_rows == len(LAYOUT.ids)
    assert few == (all_rows if recompute else len(LAYOUT.supervised))
    torch.testing.assert_close(hidden, expected)
    for ours, theirs in zip(grads, whole, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_it_leaves_the_model_in_evaluation_mode() -> None:
    model = tiny_model().train()
    Trunk(model)
    assert not any(module.training for module in model.modules())


def test_dropout_is_on_every_block_and_only_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything dropped, the residual stream is the embeddings alone."""
    monkeypatch.setattr(trunk_module.F, "dropout", lambda x, p: torch.zeros_like(x) if p == 0.25 else x)
    model = tiny_model()
    trunk = Trunk(model, dropout=0.25)
    assert torch.equal(trunk(LAYOUT), Trunk(tiny_model())(LAYOUT))
    model.train()
    embedded = model.model.embed_tokens(LAYOUT.ids[LAYOUT.supervised])
    torch.testing.assert_close(trunk(LAYOUT), model.model.norm(embedded))


@pytest.mark.parametrize("name", ["gpt-neox", "gpt2", "qwen2"])
def test_dropout_of_other_architectures(name: str) -> None:
    model = family(name)
    trunk = Trunk(model, dropout=0.5)
    model.train()
    drawn: list[Tensor] = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(trunk(LAYOUT))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])


def test_dropout_where_blocks_cannot_be_found_is_refused() -> None:
    """OPT's feed-forward is no module of its own."""
    with pytest.raises(ModelError, match="--dropout has no place"):
        Trunk(family("opt"), dropout=0.1)


def test_recomputing_where_the_model_cannot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(ModelError, match="cannot recompute"):
        Trunk(model, recompute=True)


def test_the_models_own_dropout_is_set_to_zero_and_the_adapters_kept() -> None:
    model = family("gpt-neox", hidden_dropout=0.3, attention_dropout=0.3)
    lora.attach(model, LoraShape(4, 8.0, dropout=0.2))
    Trunk(model)
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.0}
    assert model.gpt_neox.layers[0].attention.attention_dropout == 0.0
    assert {module.dropout for module in model.modules() if isinstance(module, lora.LoraLinear)} == {0.2}


def test_a_model_that_is_random_in_training_is_refused() -> None:
    model = tiny_model()
    model.model.norm.register_forward_hook(lambda m, _, out: out + m.training * torch.randn_like(out))
    with pytest.raises(ModelError, match="logits are off"):
        Trunk(model)


def test_adapters_need_linear_layers() -> None:
    with pytest.raises(ModelError, match="no linear layers"):
        lora.attach(family("gpt2"), LoraShape(4, 8.0))
