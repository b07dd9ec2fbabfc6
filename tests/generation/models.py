"""Models of the generation tests: other families, and a scripted one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM, PreTrainedModel

from tests.support.tiny import VOCABULARY, tiny_model


def sliding_model(window: int) -> MistralForCausalLM:
    """A random Mistral whose layers all attend to the last `window` tokens."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=window,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    return MistralForCausalLM(config).eval()


def absolute_model() -> GPT2LMHeadModel:
    """A random GPT-2 with 64 learned positions: a wrong one shows, one beyond the context is an error."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2)
    return GPT2LMHeadModel(config).eval()


def scripted_model(prompt_length: int, script: Sequence[int]) -> PreTrainedModel:
    """A model that continues any prompt of that length with the script, and with its last token from then on."""
    model = tiny_model()

    def follow(_: Any, __: Any, arguments: dict[str, Any], output: Any) -> Any:
        positions = arguments.get("position_ids", torch.arange(arguments["input_ids"].shape[1])[None])
        keep = arguments.get("logits_to_keep", 0)
        at = (positions if isinstance(keep, int) else positions[:, keep]) + 1 - prompt_length
        tokens = torch.tensor(script)[at.clamp(0, len(script) - 1)]
        output.logits = torch.nn.functional.one_hot(tokens, VOCABULARY) * 50.0
        return output

    model.register_forward_hook(follow, with_kwargs=True)
    return model
