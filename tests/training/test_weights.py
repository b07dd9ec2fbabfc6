"""Flat weights: parameters and their gradients are views, matrices first."""

from __future__ import annotations

import pytest
import torch

from outcrop.training.weights import FlatWeights
from tests.support.tiny import tiny_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parameters_and_gradients_become_views(dtype: torch.dtype) -> None:
    model = tiny_model()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    flat = FlatWeights(dict(model.named_parameters()), dtype)
    assert flat.state().keys() == before.keys()
    for name, value in flat.state().items():
        assert torch.equal(value, before[name])
    flat.master.fill_(0.5)
    flat.publish()
    assert all((parameter == 0.5).all() and parameter.dtype == dtype for parameter in model.parameters())
    model(input_ids=torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.data_ptr() == flat.slots[name].of(flat.grad).data_ptr()


def test_matrices_come_first() -> None:
    model = tiny_model(attention_bias=True)
    flat = FlatWeights(dict(model.named_parameters()), torch.float32)
    for slot in flat.slots.values():
        assert (slot.start + slot.shape.numel() <= flat.decay) == (len(slot.shape) >= 2)
    assert flat.decay == sum(p.numel() for p in model.parameters() if p.dim() >= 2) < len(flat.master)


def test_tied_weights_are_one() -> None:
    model = tiny_model(tie_word_embeddings=True)
    flat = FlatWeights(dict(model.named_parameters()), torch.bfloat16)
    assert len(flat.master) == sum(parameter.numel() for parameter in model.parameters())
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
