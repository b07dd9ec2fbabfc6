"""Labels that are tokens: no text becomes one, decoded they are the labels, and saved and loaded they are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from outcrop.core.completions import CompletionRequest, Constraint, Sampling
from outcrop.core.errors import DataError, ModelError, UsageError
from outcrop.data.records import Conversation, Message, Pair, Record, Text
from outcrop.generation.cascade import engine_of
from outcrop.models.label_tokens import with_label_tokens
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.saving import save_card, save_tokenizer, save_weights
from outcrop.models.trimming import trim

LABELS = ("card_arrival", "card", "the", "Überweisung 你好", "a")


@pytest.fixture(params=["whole", "trimmed"])
def plain(request: pytest.FixtureRequest) -> LoadedModel:
    loaded = load_model("bundled:pebble-s")
    if request.param == "whole":
        return loaded
    return trim(
        loaded, [loaded.renderer.prompt(Pair(f"Message: my card {label}\nIntent:", "")) for label in LABELS]
    ).loaded


def test_texts_keep_their_tokens_and_labels_are_one(plain: LoadedModel) -> None:
    made = with_label_tokens(plain, LABELS)
    for text in (" card_arrival", "the card a Überweisung 你好", *LABELS):
        assert made.tokenizer(text).input_ids == plain.tokenizer(text).input_ids
    ids = [made.renderer.answer(Pair("Intent:", label), label) for label in LABELS]
    assert all(len(each) == 1 for each in ids)
    assert len({each[0] for each in ids}) == len(LABELS)
    assert [made.tokenizer.decode(each).strip() for each in ids] == list(LABELS)
    assert made.renderer.answer(Pair("Intent:", ""), "another") == plain.renderer.answer(Pair("Intent:", ""), "another")


def test_logits_of_other_tokens_are_the_same(plain: LoadedModel) -> None:
    made = with_label_tokens(plain, LABELS)
    ids = torch.tensor([plain.renderer.prompt(Pair("Message: my card\nIntent:", ""))])
    with torch.no_grad():
        before, after = plain.model(input_ids=ids).logits, made.model(input_ids=ids).logits
    torch.testing.assert_close(after[..., : before.shape[-1]], before, rtol=1e-4, atol=1e-4)
    label = made.renderer.spec.label_tokens["card"]
    pieces = plain.renderer.answer(Pair("a", "card"), "card")[:-1]
    torch.testing.assert_close(after[..., label], before[..., pieces].mean(-1), rtol=1e-4, atol=1e-4)


def test_it_answers_in_no_form_and_its_neighbours_go_on(plain: LoadedModel) -> None:
    made = with_label_tokens(plain, LABELS)
    engine, prompt = engine_of(made), tuple(made.renderer.prompt(Pair("Intent:", "")))
    form = Sampling(temperature=1.0, constraint=Constraint("choice", '["card"]'), stop_ids=made.renderer.stop_ids)
    with pytest.raises(UsageError, match="one of its labels"):
        engine.complete([CompletionRequest(prompt, form)])
    assert engine.complete([CompletionRequest(prompt, Sampling(max_new_tokens=1))])[0].text.strip() in LABELS


@pytest.mark.parametrize("row", [Pair("Intent:", "pin"), Text("A manual."), Conversation((Message("user", "a"),))])
def test_it_is_trained_on_nothing_that_it_cannot_write(plain: LoadedModel, row: Record) -> None:
    renderer = with_label_tokens(plain, LABELS).renderer
    with pytest.raises(DataError, match="none of them"):
        renderer.render(row)
    if isinstance(row, Text):
        with pytest.raises(DataError, match="none of them"):
            list(renderer.render_texts([row]))
    assert renderer.render(Pair("Intent:", "card")).trained_tokens == 1


def test_saved_and_loaded_it_is_the_same(plain: LoadedModel, tmp_path: Path) -> None:
    made = with_label_tokens(plain, LABELS)
    save_weights(made, {}, tmp_path, torch.float32)
    save_tokenizer(made, tmp_path)
    save_card(tmp_path, made, {})
    loaded = load_model(str(tmp_path))
    assert loaded.renderer.spec == made.renderer.spec.model_copy(
        update={"chat_template": loaded.renderer.spec.chat_template}
    )
    ids = torch.tensor([made.renderer.prompt(Pair("Message: my card\nIntent:", ""))])
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(input_ids=ids).logits, made.model(input_ids=ids).logits)
    assert loaded.tokenizer.decode([loaded.renderer.spec.label_tokens["the"]]).strip() == "the"


def test_a_cut_vocabulary_keeps_them(plain: LoadedModel) -> None:
    made = with_label_tokens(plain, LABELS)
    small = trim(made, [made.renderer.prompt(Pair("Message: my card\nIntent:", ""))]).loaded
    ids = [small.renderer.answer(Pair("Intent:", label), label) for label in LABELS]
    assert [small.tokenizer.decode(each).strip() for each in ids] == list(LABELS)
    with pytest.raises(ModelError, match="tokens of its own"):
        with_label_tokens(small, LABELS)


def test_a_tokenizer_that_might_make_them_of_texts_is_refused() -> None:
    loaded = load_model("bundled:pebble-s")
    loaded.tokenizer.backend_tokenizer.model.ignore_merges = True
    with pytest.raises(ModelError, match="byte-level BPE of merges alone"):
        with_label_tokens(loaded, LABELS)
