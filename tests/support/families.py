"""Random models of other architectures than Llama, tiny, from transformers' own classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers

from tests.support.tiny import VOCABULARY

_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}
_GROUPED = _SHAPE | {"num_key_value_heads": 2}
_GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}

EXACT: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2", _GROUPED),
    "qwen3": ("Qwen3", _GROUPED | {"head_dim": 8}),
    "mistral": ("Mistral", _GROUPED | {"sliding_window": None}),
    "gpt-neox": ("GPTNeoX", _SHAPE | {"rotary_pct": 0.25}),
    "gpt2": ("GPT2", _GPT2 | {"initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2}),
    "phi3": ("Phi3", _GROUPED),
    "olmo2": ("Olmo2", _GROUPED),
    "smollm3": ("SmolLM3", _GROUPED),
    "granite": ("Granite", _GROUPED),
    "stablelm": ("StableLm", _GROUPED),
}
"""What training computes, or should: name → (class prefix, fields of its configuration)."""

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma2": ("Gemma2", _GROUPED | {"head_dim": 8}),
    "gemma3": ("Gemma3", _GROUPED | {"head_dim": 8}),
    "bloom": ("Bloom", {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "granite-scaled": ("Granite", _GROUPED | {"logits_scaling": 4.0}),
    "mamba": ("Mamba", {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2}),
    "phi": ("Phi", _SHAPE),
    "cohere": ("Cohere", _GROUPED),
    "gpt-oss": ("GptOss", _GROUPED | {"head_dim": 8, "num_local_experts": 2}),
    "opt": ("OPT", {"vocab_size": VOCABULARY, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32}),
}


def family(name: str, seed: int = 0, **overrides: Any) -> Any:
    """A fresh random model of that architecture, in evaluation mode, with every parameter random: biases too."""
    prefix, fields = (EXACT | REFUSED)[name]
    configuration: Callable[..., Any] = getattr(transformers, f"{prefix}Config" if prefix != "Gemma3" else "Gemma3TextConfig")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{prefix}ForCausalLM")(configuration(**fields | overrides)).eval()
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model
