"""The bytes of tokens: of every kind of tokenizer they spell the text."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from outcrop.models.loading import load_model
from outcrop.models.token_bytes import token_bytes
from tests.support.tiny import tiny_tokenizer

TEXT = "Grüße, 你好 😀\n\tpayment_not-listed"


@pytest.mark.parametrize("name", ["tiny", "bundled:pebble-s"])
def test_byte_level_tokens_spell_every_text(name: str) -> None:
    tokenizer = tiny_tokenizer() if name == "tiny" else load_model(name).tokenizer
    pieces = token_bytes(tokenizer)
    spelt = b"".join(pieces[number] or b"" for number in tokenizer(TEXT, add_special_tokens=False).input_ids)
    assert spelt == TEXT.encode()
    assert pieces[tokenizer.eos_token_id] == tokenizer.eos_token.encode()
    single = {piece for piece in pieces if piece is not None and len(piece) == 1}
    assert len(single) == 256


def test_pieces_of_sentencepiece_and_its_bytes() -> None:
    tokenizer = made(decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]))
    assert token_bytes(tokenizer) == [b"</s>", b" card", b"\n", b"a"]


def test_other_kinds_are_not_guessed() -> None:
    assert token_bytes(made(decoders.WordPiece()))[1:] == [None, None, None]


def made(decoder: Any) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE({"</s>": 0, "▁card": 1, "<0x0A>": 2, "a": 3}, []))
    core.normalizer, core.decoder = normalizers.Sequence([]), decoder
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")
