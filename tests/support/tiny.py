"""A tokenizer and Llama models small enough to build in every test: real classes, random weights, no files."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 300
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")
_TRAINING_TEXT = (
    "my card has not arrived yet, when will the card arrive?",
    "the transfer to my account is pending and the balance has not changed",
    "why was I charged a fee for the exchange of money? grüße, 你好, 😀",
    "please cancel the order and return the money to my card\nthank you",
)


@cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 300 tokens with <s>, </s> and <pad>; adds no special token by itself. Shared."""
    core = Tokenizer(models.BPE(unk_token=None))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_TRAINING_TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def tiny_model(seed: int = 0, **overrides: Any) -> LlamaForCausalLM:
    """A fresh copy of a random fp32 Llama in evaluation mode; `overrides` replace fields of its LlamaConfig."""
    return copy.deepcopy(_model(seed, tuple(sorted(overrides.items()))))


@cache
def _model(seed: int, overrides: tuple[tuple[str, Any], ...]) -> LlamaForCausalLM:
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "bos_token_id": SPECIAL_TOKENS.index("<s>"),
        "eos_token_id": SPECIAL_TOKENS.index("</s>"),
        "pad_token_id": SPECIAL_TOKENS.index("<pad>"),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**fields | dict(overrides))).eval()
