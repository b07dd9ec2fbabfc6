"""Random Llama models of the measured shapes: m30 (28.7M parameters) and m135 (SmolLM2-135M's shape)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM


class ModelShape(NamedTuple):
    """What the arithmetic of limits needs."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int

    @property
    def layer_weights(self) -> int:
        """Numbers in all blocks."""
        attention = self.hidden * 64 * 2 * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.inner)

    @property
    def head_weights(self) -> int:
        """Numbers in the output layer."""
        return self.vocabulary * self.hidden


SHAPES = {
    "m30": ModelShape(16384, 384, 12, 6, 2, 1280),
    "m135": ModelShape(49152, 576, 30, 9, 3, 1536),
}


def make(name: str, dtype: torch.dtype) -> Any:
    """A fresh model with random weights."""
    shape = SHAPES[name]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=64,
        intermediate_size=shape.inner,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.04,
    )
    return LlamaForCausalLM(config).to(dtype).eval()
