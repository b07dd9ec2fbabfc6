"""New base models: every text survives their tokenizer, and the same seed gives the same weights."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from outcrop.core.errors import UsageError
from outcrop.data.records import Conversation, Message
from outcrop.models.rendering import Renderer
from outcrop.models.scratch import BEGIN, END, PAD, RESERVED, ROLES, ShapeSpec, learn_tokenizer, new_model

SHAPE = ShapeSpec(vocabulary=320, hidden=16, layers=2, heads=2, kv_heads=1, intermediate=32, context=64)
TEXTS = ["when will my card arrive? " * 3, "it costs 1234 euros", "grüße, 你好 😀"]
WORDS = learn_tokenizer(TEXTS, SHAPE)
SPECIALS = (BEGIN, END, PAD, *ROLES, *RESERVED)


def text_of(ids: list[int]) -> str:
    return str(WORDS.decode(ids, clean_up_tokenization_spaces=False))


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: not any(s in text for s in SPECIALS)))
def test_every_text_survives(text: str) -> None:
    assert text_of(WORDS(text, add_special_tokens=False).input_ids) == unicodedata.normalize("NFC", text)


def test_every_byte_has_a_token() -> None:
    every = bytes(range(256)).decode("latin-1")
    assert text_of(WORDS(every, add_special_tokens=False).input_ids) == every
    assert WORDS.unk_token_id is None


def test_digits_stand_alone() -> None:
    ids = WORDS("1234", add_special_tokens=False).input_ids
    assert [text_of([token]) for token in ids] == ["1", "2", "3", "4"]


def test_text_gets_one_begin_token_and_no_end() -> None:
    ids = WORDS("card").input_ids
    assert ids[0] == WORDS.bos_token_id
    assert ids[1:] == WORDS("card", add_special_tokens=False).input_ids


def test_the_vocabulary_is_no_larger_than_asked_and_begins_with_the_special_tokens() -> None:
    assert len(WORDS) <= SHAPE.vocabulary
    assert [WORDS.convert_tokens_to_ids(name) for name in SPECIALS] == list(range(len(SPECIALS)))
    assert [WORDS.bos_token, WORDS.eos_token, WORDS.pad_token] == [BEGIN, END, PAD]


def test_learning_is_a_function_of_the_texts() -> None:
    assert learn_tokenizer(iter(TEXTS), SHAPE).get_vocab() == WORDS.get_vocab()


def test_the_tokenizer_survives_its_file(tmp_path: Path) -> None:
    WORDS.save_pretrained(tmp_path)
    again: Any = AutoTokenizer.from_pretrained(str(tmp_path))
    assert again("a 12 é 😀").input_ids == WORDS("a 12 é 😀").input_ids
    assert again.chat_template == WORDS.chat_template


def test_the_chat_template_closes_every_turn() -> None:
    renderer = Renderer(WORDS)
    turns = (Message("system", "s"), Message("user", "a"), Message("assistant", "b"))
    row = renderer.render(Conversation((*turns, *turns[1:])))
    once = "<|user|>a<|end|><|assistant|>b<|end|>"
    assert text_of(row.token_ids) == f"<|begin|><|system|>s<|end|>{once}{once}"
    assert renderer.stop_ids == (WORDS.eos_token_id,)
    assert row.trained_tokens == 4


def test_a_new_model_is_a_function_of_the_seed() -> None:
    torch.manual_seed(1)
    first = new_model(SHAPE, WORDS, seed=3).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second, other = new_model(SHAPE, WORDS, seed=3).state_dict(), new_model(SHAPE, WORDS, seed=4).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "the caller's random stream is its own"
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_a_new_model_has_the_shape() -> None:
    shape = SHAPE.model_copy(update={"rope_theta": 5e5})
    model = new_model(shape, WORDS, seed=0)
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (16, 2, 32)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (2, 1, 8)
    assert config.max_position_embeddings == 64
    assert config.rope_parameters["rope_theta"] == 5e5
    assert config.vocab_size == len(WORDS)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (0, 1, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hidden = 17", "hidden must be a multiple of 2 · heads"),
        ("heads = 6\nkv_heads = 4", "heads of kv_heads"),
        ("hiden = 64", "Did you mean: hidden?"),
        ("layers = 0", "layers"),
        ("vocabulary = 100", "vocabulary"),
        ("layers = ", "The shape is not TOML"),
        ("[layers]\nx = 1", "layers"),
    ],
)
def test_wrong_shapes_say_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "shape.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        ShapeSpec.from_file(file)
    assert says in str(caught.value)
    assert caught.value.where == str(file)


def test_a_shape_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "shape.toml").write_text("hidden = 32\nheads = 4\n")
    assert ShapeSpec.from_file(tmp_path / "shape.toml") == ShapeSpec(hidden=32, heads=4)


def test_unreadable_shape_files(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            ShapeSpec.from_file(path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not TOML"):
        ShapeSpec.from_file(tmp_path / "bytes.toml")
