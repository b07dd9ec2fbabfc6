"""Tokenizers that are taken apart and made anew: no token gets another id, whatever the vocabulary is like."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from outcrop.data.records import Pair
from outcrop.models.description import described, rebuilt, size
from outcrop.models.folder import find_model
from outcrop.models.label_tokens import with_label_tokens
from outcrop.models.loading import LoadedModel
from outcrop.models.phrase_tokens import find_merges, with_phrase_tokens
from outcrop.models.rendering import Renderer
from outcrop.models.trimming import trim
from tests.support.tiny import tiny_model

ADDED = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "    ")
ROWS = [Pair("Message: at seven\nSlots:", ' {\n    "time": "7"}')] * 20
TABLE = 300
"""Rows of the embeddings: as with Qwen, more than there are tokens."""


@pytest.fixture
def outside() -> LoadedModel:
    """A model whose added tokens are not in its vocabulary, which the tokenizers library numbers after it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({each: number for number, each in enumerate(alphabet)}, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    core.add_special_tokens(list(ADDED[:3]))
    core.add_tokens([AddedToken(ADDED[3], normalized=False)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=ADDED[2], pad_token=ADDED[0])
    assert not set(ADDED) & described(tokenizer)["model"]["vocab"].keys()
    folder = find_model("bundled:pebble-s")
    return LoadedModel(folder, tiny_model(vocab_size=TABLE), tokenizer, Renderer(tokenizer))


def ids_of(tokenizer: Any) -> dict[str, int]:
    return {token: tokenizer.convert_tokens_to_ids(token) for token in ADDED}


def test_added_tokens_keep_their_ids(outside: LoadedModel) -> None:
    description = described(outside.tokenizer)
    description["model"]["vocab"] |= {f"new{number}": TABLE + number for number in range(50)}
    made = rebuilt(outside.tokenizer, description)
    assert ids_of(made) == ids_of(outside.tokenizer)
    assert (size(outside.tokenizer), size(made)) == (260, TABLE + 50)
    for text in ("a  b", "<|im_end|>", "x    y"):
        assert made(text).input_ids == outside.tokenizer(text).input_ids


def test_labels_do_not_end_with_the_end_token(outside: LoadedModel) -> None:
    labels = [f"label {number}" for number in range(60)]
    made = with_label_tokens(outside, labels)
    assert ids_of(made.tokenizer) == ids_of(outside.tokenizer)
    assert set(made.renderer.stop_ids).isdisjoint(made.renderer.spec.label_tokens.values())
    assert [made.tokenizer.decode(each).strip() for each in made.renderer.spec.label_tokens.values()] == labels


def test_phrases_are_text_and_their_rows_spelled_out_as_they_were(outside: LoadedModel) -> None:
    row = ROWS[0]
    written = [(outside.renderer.prompt(each), outside.renderer.answer(each, each.completion)) for each in ROWS]
    made = with_phrase_tokens(outside, find_merges(outside, written))
    ids = made.renderer.answer(row, row.completion)
    assert tuple(token for run in made.renderer.runs(ids) for token in run) == tuple(written[0][1])
    assert "".join(made.renderer.token_texts(ids)) == row.completion
    assert made.renderer.stop_ids[0] == outside.renderer.eos_id


def test_a_cut_vocabulary_has_every_added_token_where_it_is_said_to_be(outside: LoadedModel) -> None:
    made = with_label_tokens(outside, ["card", "fee"])
    small = trim(made, [made.renderer.prompt(ROWS[0])])
    for token in ADDED:
        number = small.loaded.tokenizer.convert_tokens_to_ids(token)
        assert small.kept[number] == outside.tokenizer.convert_tokens_to_ids(token)
    assert small.loaded.renderer.eos_id == small.loaded.tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_what_is_described_is_left_as_it_was(outside: LoadedModel) -> None:
    description = described(outside.tokenizer)
    before = copy.deepcopy(description)
    rebuilt(outside.tokenizer, description)
    assert description == before
