"""New base models: a shape, a tokenizer learnt from text, and random weights."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import model_validator
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from outcrop.core.errors import UsageError
from outcrop.core.seeds import derive
from outcrop.core.spec import Spec, parameter

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
RESERVED = tuple(f"<|reserved-{i}|>" for i in range(8))
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


class ShapeSpec(Spec):
    """The shape of a new Llama model (Touvron et al. 2023) with grouped-query attention and tied embeddings."""

    vocabulary: int = parameter(8192, "tokens of the byte-level BPE tokenizer", unit="tokens", ge=300, le=262_144)
    hidden: int = parameter(192, "width of the residual stream", ge=16)
    layers: int = parameter(5, "blocks", ge=1)
    heads: int = parameter(6, "query heads", ge=1)
    kv_heads: int = parameter(2, "key and value heads", ge=1)
    intermediate: int = parameter(512, "width of the feed-forward layers", ge=16)
    context: int = parameter(1024, "longest sequence", unit="tokens", ge=16)
    rope_theta: float = parameter(10_000.0, "base of the rotary frequencies", gt=0)

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.hidden % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError("hidden must be a multiple of 2 · heads, and heads of kv_heads")
        return self

    @classmethod
    def from_file(cls, path: Path) -> ShapeSpec:
        """Read SHAPE.toml. Raises UsageError saying what is wrong."""
        try:
            return cls.parse(tomllib.loads(path.read_text(encoding="utf-8")), where=str(path))
        except OSError as error:
            raise UsageError(f"The shape cannot be read: {error.strerror}.", "Give a .toml file.", str(path)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"The shape is not TOML: {error}.", "Write name = value lines.", str(path)) from None


def learn_tokenizer(texts: Iterable[str], shape: ShapeSpec) -> Any:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) with single digits, a begin token in front, and chat tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [BEGIN, END, PAD, *ROLES, *RESERVED]
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
    )
    return as_fast(tokenizer, shape)


def as_fast(tokenizer: Tokenizer, shape: ShapeSpec) -> Any:
    """What `learn_tokenizer` learnt, with the names of its special tokens and its chat template."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[*ROLES, *RESERVED],
        model_max_length=shape.context,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def new_model(shape: ShapeSpec, tokenizer: Any, seed: int) -> Any:
    """A model of this shape with random weights that are a pure function of the seed."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.hidden // shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.context,
        rope_theta=shape.rope_theta,
        tie_word_embeddings=True,
        initializer_range=0.02,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "new model"))
        return LlamaForCausalLM(config)
