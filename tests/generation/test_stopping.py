"""Growing text: whole characters, exact spaces, nothing of a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from outcrop.generation.stopping import REPLACEMENT, IncrementalText, StopStrings, decode
from tests.support.tiny import tiny_tokenizer

TEXT = "grüße, 你好 world 😀  two spaces\n👩‍👩‍👧 end"


@cache
def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """Pieces as SentencePiece makes them: ▁ for spaces, one in front, bytes for unknown characters."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    model = models.BPE({piece: at for at, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    core = Tokenizer(model)
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _deltas(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], continuation: Sequence[int]) -> list[str]:
    text = IncrementalText(tokenizer, prompt)
    return [*(text.push(token) for token in continuation), text.flush()]


MakeTokenizer = Callable[[], PreTrainedTokenizerBase]
TOKENIZERS: list[MakeTokenizer] = [tiny_tokenizer, sentencepiece_tokenizer]


@pytest.mark.parametrize("make", TOKENIZERS)
def test_characters_come_whole_wherever_the_prompt_ends(make: MakeTokenizer) -> None:
    tokenizer = make()
    ids = _ids(tokenizer, TEXT)
    for split in range(1, len(ids)):
        prompt, continuation = ids[:split], ids[split:]
        deltas = _deltas(tokenizer, prompt, continuation)
        assert REPLACEMENT not in "".join(deltas)
        assert decode(tokenizer, prompt).rstrip(REPLACEMENT) + "".join(deltas) == decode(tokenizer, ids)


@given(st.text(st.characters(codec="utf-8", exclude_characters=REPLACEMENT), min_size=2), st.integers(min_value=1))
def test_any_text_comes_out_as_it_went_in(text: str, at: int) -> None:
    for make in TOKENIZERS:
        tokenizer = make()
        ids = _ids(tokenizer, text)
        split = at % len(ids)
        prompt, continuation = ids[:split], ids[split:]
        shown = decode(tokenizer, prompt).rstrip(REPLACEMENT) + "".join(_deltas(tokenizer, prompt, continuation))
        assert shown == decode(tokenizer, ids)


@pytest.mark.parametrize("make", TOKENIZERS)
def test_special_tokens_leave_no_text_and_change_no_space(make: MakeTokenizer) -> None:
    tokenizer = make()
    prompt = [tokenizer.bos_token_id, *_ids(tokenizer, "ab")]
    word = _ids(tokenizer, "ab cd")[len(prompt) - 1 :]
    assert "".join(_deltas(tokenizer, prompt, [*word, tokenizer.eos_token_id, *word])) == " cd cd"


def test_the_space_in_front_belongs_to_the_prompt_that_has_text() -> None:
    tokenizer = sentencepiece_tokenizer()
    ids = _ids(tokenizer, "dog")
    assert "".join(_deltas(tokenizer, [tokenizer.bos_token_id], ids)) == "dog"
    assert "".join(_deltas(tokenizer, _ids(tokenizer, "a"), ids)) == " dog"


@pytest.mark.parametrize("make", TOKENIZERS)
def test_a_character_that_stays_broken_is_shown_at_the_end(make: MakeTokenizer) -> None:
    tokenizer = make()
    prompt = _ids(tokenizer, "a")
    *first, broken = _deltas(tokenizer, prompt, _ids(tokenizer, "a你")[len(prompt) : -1])
    assert "".join(first).strip() == ""
    assert set(broken.strip()) == {REPLACEMENT}


def test_bytes_that_never_form_a_character_do_not_take_back_what_was_shown() -> None:
    tokenizer = sentencepiece_tokenizer()
    lone = tokenizer.convert_tokens_to_ids("<0xE4>")
    continuation = [*_ids(tokenizer, "你"), lone, *_ids(tokenizer, "a")[-1:]]
    assert "".join(_deltas(tokenizer, _ids(tokenizer, "x"), continuation)) == f" 你{REPLACEMENT}a"


def test_nothing_follows_when_no_token_came() -> None:
    tokenizer = tiny_tokenizer()
    assert IncrementalText(tokenizer, _ids(tokenizer, "你")[:-1]).flush() == ""


PIECES = st.lists(st.text("ab\n", max_size=4), max_size=8)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


@given(PIECES, STOPS)
def test_text_is_passed_on_up_to_the_first_stop_string(pieces: list[str], stops: list[str]) -> None:
    scanner = StopStrings(stops)
    passed = ""
    for piece in pieces:
        passed += scanner.push(piece)
        assert not any(stop in passed for stop in stops)
        if scanner.met:
            break
    passed += scanner.flush()
    text = "".join(pieces)
    assert scanner.met == any(stop in text for stop in stops)
    assert any(text.startswith(passed + stop) for stop in stops) if scanner.met else passed == text


@given(PIECES, STOPS)
def test_only_a_possible_stop_string_is_held_back(pieces: list[str], stops: list[str]) -> None:
    scanner = StopStrings(stops)
    passed = text = ""
    for piece in pieces:
        passed += scanner.push(piece)
        text += piece
        if scanner.met:
            break
        held = text[len(passed) :]
        assert text.startswith(passed)
        assert not held or any(stop.startswith(held) and stop != held for stop in stops)
