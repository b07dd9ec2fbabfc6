"""Random models of other architectures than Llama, tiny, from transformers' own classes."""

from __future__ import annotations

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
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
_NEOX = {name: value for name, value in _SHAPE.items() if name != "num_key_value_heads"}
_GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
_OPT = {"vocab_size": VOCABULARY, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_HEADS = {"head_dim": 8}
_EXPERTS = {"num_experts_per_tok": 2}

EXACT: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma": ("Gemma", _SHAPE | _HEADS),
    "gemma3": ("Gemma3Text", _SHAPE | _HEADS),
    "gpt-neox": ("GPTNeoX", _NEOX | {"rotary_pct": 0.25}),
    "gpt2": ("GPT2", _GPT2 | {"initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2}),
    "granite": ("Granite", _SHAPE),
    "mistral": ("Mistral", _SHAPE | {"sliding_window": None}),
    "mixtral": ("Mixtral", _SHAPE | _EXPERTS | {"num_local_experts": 4, "sliding_window": None}),
    "olmo2": ("Olmo2", _SHAPE),
    "opt": ("OPT", _OPT | {"word_embed_proj_dim": 32, "init_std": 0.2, "pad_token_id": None}),
    "phi3": ("Phi3", _SHAPE),
    "qwen2": ("Qwen2", _SHAPE),
    "qwen2-moe": ("Qwen2Moe", _SHAPE | _EXPERTS | {"num_experts": 4, "moe_intermediate_size": 16}),
    "qwen3": ("Qwen3", _SHAPE | _HEADS),
    "smollm3": ("SmolLM3", _SHAPE),
}
"""What training computes: name → (class of its configuration, fields)."""

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": ("Bloom", {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "cohere": ("Cohere", _SHAPE),
    "gemma2": ("Gemma2", _SHAPE | _HEADS),
    "granite, scaled": ("Granite", _SHAPE | {"logits_scaling": 4.0}),
    "lfm2": ("Lfm2", _SHAPE | {"layer_types": ["conv", "full_attention"]}),
    "mamba": ("Mamba", {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2}),
    "phi": ("Phi", _SHAPE),
    "stablelm": ("StableLm", _SHAPE),
}
"""What it does not: capped or scaled logits, a bias on them, positions in the attention mask, states that
run through from document to document."""


def family(name: str, **overrides: Any) -> Any:
    """A fresh random model of that architecture, in evaluation mode, with every parameter random: biases, too."""
    prefix, fields = (EXACT | REFUSED)[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        configuration = getattr(transformers, f"{prefix}Config")(**fields | overrides)
        model = transformers.AutoModelForCausalLM.from_config(configuration).eval()
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model
