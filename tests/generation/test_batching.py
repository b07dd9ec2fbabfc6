"""Batches: every row once, within the budget, and the model left as it was."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Lfm2Config, MistralConfig

from outcrop.core.errors import ModelError
from outcrop.generation.batching import Limits, inference, pad_left, plan_batches, shared_prefix
from tests.support.tiny import tiny_model


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_budget(widths: list[int], budget: int) -> None:
    batches = plan_batches(widths, budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(widths)))
    assert all(len(batch) == 1 or len(batch) * max(widths[row] for row in batch) <= budget for batch in batches)
    widest_first = [widths[row] for batch in batches for row in batch]
    assert widest_first == sorted(widths, reverse=True)


def test_rows_are_padded_on_the_left() -> None:
    padded = pad_left([[5, 6, 7], [8]], torch.device("cpu"))
    assert padded.tokens_BS.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert padded.attended_BS.tolist() == [[1, 1, 1], [0, 0, 1]]


SHOTS = list(range(40))


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([SHOTS], 0),
        ([[*SHOTS, 1], [*SHOTS, 2, 3]], 40),
        ([SHOTS, SHOTS], 39),
        ([SHOTS, [*SHOTS, 2, 3]], 39),
        ([[*SHOTS[:31], 1], [*SHOTS[:31], 2]], 0),
        ([[*SHOTS, 1], [*SHOTS, *range(300)]], 0),
        ([[7, *SHOTS], [8, *SHOTS]], 0),
    ],
)
def test_a_prefix_is_shared_where_it_pays(prompts: list[list[int]], expected: int) -> None:
    assert shared_prefix(prompts) == expected


def test_no_module_keeps_another_mode_and_no_gradient_is_lost() -> None:
    model = tiny_model().train()
    model.model.layers[0].eval()
    before = [module.training for module in model.modules()]

    def fail() -> None:
        with inference(model):
            assert not any(module.training for module in model.modules())
            assert not torch.is_grad_enabled()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert [module.training for module in model.modules()] == before
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_limits_are_read_from_the_model() -> None:
    assert Limits.of(tiny_model()) == Limits(context=256, vocabulary=300, window=None)
    sliding = MistralConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=16, sliding_window=8, max_position_embeddings=64,
    )  # fmt: skip
    assert Limits.of(AutoModelForCausalLM.from_config(sliding)) == Limits(context=64, vocabulary=50, window=8)


def test_layers_with_other_state_than_keys_and_values_are_refused() -> None:
    config = Lfm2Config(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=16, layer_types=["conv", "full_attention"],
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"LinearAttentionLayer.*full or sliding-window attention"):
        Limits.of(AutoModelForCausalLM.from_config(config))
