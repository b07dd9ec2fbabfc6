"""How much memory a model takes while it is served, from its folder alone."""

from __future__ import annotations

from typing import Any

from outcrop.models.folder import CONFIG, ModelFolder

BYTES = {"float32": 4, "bfloat16": 2}
KEPT_TOKENS = 8192 + 16384
"""Of running answers and of beginnings that are kept: the engine's own bounds."""
WEIGHT_BYTES = 4
"""bf16 weights lie in two layouts, for few and for many rows."""
OVERHEAD = 1.25
"""Weights while they are laid out anew, and what is computed from them."""


def footprint(folder: ModelFolder, precision: str) -> int:
    """Bytes of weights, keys and values. precision auto counts as fp32, the most that it can choose."""
    size = BYTES.get(precision, BYTES["float32"])
    weights = folder.parameters if folder.base is None else folder.root.parameters
    return int(weights * WEIGHT_BYTES * OVERHEAD) + KEPT_TOKENS * _numbers_per_token(folder.root.read(CONFIG)) * size


def _numbers_per_token(config: dict[str, Any]) -> int:
    """Keys and values of a token, where the configuration tells; else 0."""
    text = config.get("text_config") or config
    layers, heads = text.get("num_hidden_layers"), text.get("num_attention_heads")
    key_heads = text.get("num_key_value_heads") or heads
    width = text.get("head_dim") or (text.get("hidden_size", 0) // heads if heads else 0)
    return 2 * layers * key_heads * width if layers and key_heads else 0
