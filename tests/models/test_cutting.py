"""A cut model computes what the whole one would with the other parts silenced, for every family that can be cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from outcrop.core.errors import ModelError
from outcrop.models.cutting import CutSpec, Importance, cut, layers_of, measure_importance
from tests.support.families import family
from tests.support.tiny import tiny_model

IDS = torch.tensor([[5, 9, 30, 12, 200, 7]])
ROWS = [[5, 9, 30, 12], [8, 7, 7, 100, 4]]
FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "smollm3"]


def model_of(name: str) -> Any:
    return tiny_model(num_hidden_layers=3) if name == "llama" else family(name)


@torch.no_grad()
def logits(model: Any) -> Tensor:
    return model(input_ids=IDS, use_cache=False).logits


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_cut_is_the_model_itself(name: str) -> None:
    model = model_of(name)
    torch.testing.assert_close(logits(cut(model, measure_importance(model, ROWS), CutSpec())), logits(model))


@pytest.mark.parametrize("name", FAMILIES)
def test_neurons_and_heads_that_go_are_silenced(name: str) -> None:
    model = model_of(name)
    importance = measure_importance(model, ROWS)
    smaller = cut(model, importance, CutSpec(neurons=0.5, heads=0.5))
    for layer, neurons, heads in zip(layers_of(model), importance.neurons, importance.heads, strict=True):
        layer.mlp.down_proj.weight.data[:, neurons.argsort(descending=True)[32:]] = 0
        width = layer.self_attn.o_proj.weight.shape[1] // len(heads)
        gone = int(heads.argmin())
        layer.self_attn.o_proj.weight.data[:, gone * width : (gone + 1) * width] = 0
    torch.testing.assert_close(logits(smaller), logits(model))
    assert smaller.config.intermediate_size == 32
    assert smaller.config.num_key_value_heads == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_that_go_hand_through(name: str) -> None:
    model = model_of(name)
    importance = measure_importance(model, ROWS)
    smaller = cut(model, importance, CutSpec(depth=0.5))
    gone = set(importance.blocks.argsort()[: len(importance.blocks) - len(layers_of(smaller))].tolist())
    for number in gone:
        layers_of(model)[number].self_attn.o_proj.weight.data.zero_()
        layers_of(model)[number].mlp.down_proj.weight.data.zero_()
    torch.testing.assert_close(logits(smaller), logits(model))


def test_channels_that_go_leave_every_matrix() -> None:
    model = tiny_model()
    smaller = cut(model, measure_importance(model, ROWS), CutSpec(channels=0.5))
    assert smaller.config.hidden_size == 16
    assert logits(smaller).shape == logits(model).shape
    assert smaller.get_output_embeddings().weight.shape == (300, 16)


def test_importance_of_a_silent_layer_and_neuron_is_least() -> None:
    model = tiny_model(num_hidden_layers=3)
    silent = layers_of(model)[1]
    silent.self_attn.o_proj.weight.data.zero_()
    silent.mlp.down_proj.weight.data.zero_()
    layers_of(model)[0].mlp.down_proj.weight.data[:, 7] = 0
    importance = measure_importance(model, ROWS)
    assert int(importance.blocks.argmin()) == 1
    assert float(importance.blocks[1]) == pytest.approx(0, abs=1e-9)
    assert int(importance.neurons[0].argmin()) == 7


def test_at_least_one_of_each_is_kept() -> None:
    model = tiny_model()
    smallest = cut(model, measure_importance(model, ROWS), CutSpec(depth=0.01, neurons=0.01, heads=0.01, channels=0.01))
    assert smallest.config.num_hidden_layers == smallest.config.intermediate_size == 1
    assert torch.isfinite(logits(smallest)).all()


def test_other_architectures_are_refused() -> None:
    with pytest.raises(ModelError, match="GPT2LMHeadModel cannot be cut"):
        measure_importance(family("gpt2"), ROWS)


def test_a_cut_has_a_name() -> None:
    assert CutSpec().name == "whole"
    assert CutSpec(depth=0.5, neurons=0.25).name == "depth 50%, neurons 25%"
    assert isinstance(measure_importance(tiny_model(), ROWS), Importance)
