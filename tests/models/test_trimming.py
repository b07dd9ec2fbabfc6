"""A smaller vocabulary: same tokens for the task's texts, same logits for what is kept, every text still writable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from outcrop.data.records import Conversation, Message, Pair
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.saving import save_card, save_weights
from outcrop.models.trimming import trim

TASK = [
    Pair("when will my card arrive?", "card_arrival"),
    Pair("why was I charged 25 a fee — grüße", "fee"),
    Conversation((Message("system", "Be kind."), Message("user", "hello"), Message("assistant", "hi 你好"))),
]
OTHER = Pair("Quixotic zebras vex 73 jugglers 😀 ñandú", "something else")


@pytest.fixture(scope="module")
def pebble() -> LoadedModel:
    return load_model("bundled:pebble-s")


def ids_of(loaded: LoadedModel) -> list[list[int]]:
    return [loaded.renderer.render(record).token_ids for record in TASK]


def logits(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return loaded.model(input_ids=torch.tensor([ids])).logits[0]


def test_texts_of_the_task_keep_their_tokens_and_logits(pebble: LoadedModel) -> None:
    small = trim(pebble, ids_of(pebble))
    kept = np.array(small.kept)
    assert len(kept) < len(pebble.tokenizer) / 2
    for record, before in zip(TASK, ids_of(pebble), strict=True):
        after = small.loaded.renderer.render(record).token_ids
        assert kept[after].tolist() == before
        torch.testing.assert_close(
            logits(small.loaded, after), logits(pebble, before)[:, torch.tensor(small.kept)], rtol=0, atol=1e-5
        )


def test_other_texts_are_written_in_smaller_pieces(pebble: LoadedModel) -> None:
    small = trim(pebble, ids_of(pebble)).loaded
    ids = small.renderer.render(OTHER).token_ids
    assert small.tokenizer.decode(ids, skip_special_tokens=True) == f"{OTHER.prompt} {OTHER.completion}"
    assert len(ids) > len(pebble.renderer.render(OTHER).token_ids)


def test_it_is_saved_and_loaded_as_any_model(pebble: LoadedModel, tmp_path: Path) -> None:
    small = trim(pebble, ids_of(pebble)).loaded
    save_weights(small, {}, tmp_path, torch.float32)
    save_card(tmp_path, small, {})
    again = load_model(str(tmp_path))
    ids = again.renderer.render(TASK[2]).token_ids
    assert ids == small.renderer.render(TASK[2]).token_ids
    assert again.renderer.stop_ids == small.renderer.stop_ids
    assert again.tokenizer.eos_token == pebble.tokenizer.eos_token
    torch.testing.assert_close(logits(again, ids), logits(small, ids))


def test_the_original_is_left_as_it_was(pebble: LoadedModel) -> None:
    before, size = pebble.renderer.render(OTHER).token_ids, len(pebble.tokenizer)
    trim(pebble, ids_of(pebble))
    assert pebble.renderer.render(OTHER).token_ids == before
    assert len(pebble.tokenizer) == size == pebble.model.config.vocab_size


def test_without_texts_single_characters_and_special_tokens_stay(pebble: LoadedModel) -> None:
    small = trim(pebble, []).loaded
    ids = small.renderer.render(TASK[0]).token_ids
    assert small.tokenizer.decode(ids, skip_special_tokens=True) == f"{TASK[0].prompt} {TASK[0].completion}"
