"""Tokenizers of three kinds with the special tokens of four chat templates."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from outcrop.models.scratch import ShapeSpec, learn_tokenizer
from tests.support.tiny import tiny_tokenizer

STORIES = Path(__file__).parents[3] / "shared" / "models" / "stories260K"
KINDS = ("byte-level", "new", "metaspace", "prepend", "stories260K")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADERS = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %} {{ message['content'] }}{{ eos_token }}"
    "{% else %}[INST] {{ message['content'] }} [/INST]{% endif %}{% endfor %}"
)
PHI = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|over|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
HYBRID = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
TEMPLATES = {"default": None, "chatml": CHATML, "headers": HEADERS, "inst": INST, "phi": PHI}
SPECIALS = (
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<|system|>", "<|user|>", "<|assistant|>", "<|over|>",
)  # fmt: skip


def tokenizer(kind: str) -> Any:
    """A copy of a tokenizer with the special tokens of all templates and no template. Skips where it is absent."""
    if kind == "stories260K" and not STORIES.exists():
        pytest.skip("shared/models/stories260K is not here")
    made = copy.deepcopy(_tokenizer(kind))
    made.add_special_tokens({"additional_special_tokens": list(SPECIALS)})
    made.chat_template = None
    return made


@cache
def _tokenizer(kind: str) -> Any:
    if kind == "byte-level":
        return tiny_tokenizer()
    if kind == "new":
        return learn_tokenizer(["when will my card arrive?", "grüße 12 34, 你好"], ShapeSpec(vocabulary=300))
    if kind == "stories260K":
        return AutoTokenizer.from_pretrained(str(STORIES))
    return _sentencepiece(kind)


def _sentencepiece(kind: str) -> Any:
    """As SentencePiece models are converted: "▁" for spaces, unknown characters as bytes, <s> put in front.

    metaspace: only the beginning of a text gets a space; prepend: each part between special tokens does, as of old.
    """
    words = ["▁", "▁card", "▁the", "car", "ca", "▁ca", "\n\n", "\n▁", *"\n.:,abcdefghijklmnopqrstuvwxyzIMA?![]/"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    merges = [("c", "a"), ("▁", "ca"), ("ca", "r"), ("▁ca", "rd"), ("\n", "\n"), ("\n", "▁")]
    merges += [("r", "d"), ("t", "h"), ("th", "e"), ("▁", "the")]
    names += [left + right for left, right in merges if left + right not in names]
    core = Tokenizer(
        models.BPE(
            {name: number for number, name in enumerate(names)},
            merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True,
        )
    )  # fmt: skip
    if kind == "metaspace":
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False
    )
