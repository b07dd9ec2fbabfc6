"""Phrases that are tokens: no text becomes one, decoded they are their text, an answer that ends with one is whole, and
saved, loaded and trimmed they are the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from outcrop.bodies.progress import Progress
from outcrop.core.completions import Completion, CompletionRequest, Constraint, Sampling
from outcrop.core.engines import Usage
from outcrop.core.errors import ModelError
from outcrop.data.records import Conversation, Message, Pair
from outcrop.generation.cascade import engine_of
from outcrop.models.asking import conversation_question
from outcrop.models.label_tokens import with_label_tokens
from outcrop.models.loading import LoadedModel, load_model
from outcrop.models.phrase_tokens import find_merges, with_phrase_tokens
from outcrop.models.saving import save_card, save_tokenizer, save_weights
from outcrop.models.trimming import trim

ANSWERS = ('{"time": "7 pm"}', '{"time": "8 pm"}', '{"people": "Übung 你好"}', "{}")
ROWS = [Pair("Message: at seven\nSlots:", answer) for answer in ANSWERS for _ in range(10)]


@pytest.fixture(params=["whole", "trimmed"])
def plain(request: pytest.FixtureRequest) -> LoadedModel:
    loaded = load_model("bundled:pebble-s")
    if request.param == "whole":
        return loaded
    return trim(loaded, [loaded.renderer.render(row).token_ids for row in ROWS]).loaded


def with_phrases(loaded: LoadedModel) -> LoadedModel:
    return with_phrase_tokens(loaded, find_merges(loaded, in_tokens(loaded, ROWS)))


def in_tokens(loaded: LoadedModel, rows: Sequence[Pair]) -> list[tuple[list[int], list[int]]]:
    return [(loaded.renderer.prompt(row), loaded.renderer.answer(row, row.completion)) for row in rows]


def spelled(made: LoadedModel, ids: Sequence[int]) -> list[int]:
    return [token for run in made.renderer.runs(ids) for token in run]


def test_rows_are_short_and_spelled_out_as_they_were(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    for row in ROWS:
        [before], [after] = in_tokens(plain, [row]), in_tokens(made, [row])
        assert tuple(spelled(made, ids) for ids in after) == before
        assert len(after[1]) == 1
        assert len(after[0]) < len(before[0])
        assert made.renderer.render(row).token_ids == [*after[0], *after[1]]


def test_the_tokenizer_itself_makes_none_of_a_text(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    for text in (*ANSWERS, ' {"time": "', '"}<|end|>', ROWS[0].prompt):
        assert made.tokenizer(text).input_ids == plain.tokenizer(text).input_ids


def test_what_is_copied_has_the_same_tokens_there_and_here() -> None:
    """Though half past eight stands before the end of every answer, and after the same word of every prompt."""
    plain = load_model("bundled:pebble-s")
    rows = [Pair("Message: at half past eight please\nSlots:", '{"time": " half past eight"}')] * 20
    made = with_phrase_tokens(plain, find_merges(plain, in_tokens(plain, rows)))
    [(prompt, answer)] = in_tokens(made, rows[:1])
    copied = plain.tokenizer(" half past eight", add_special_tokens=False).input_ids
    [both] = [token for token in answer if token in prompt]
    assert spelled(made, [both]) == copied
    assert len(answer) == 3


def test_tokens_of_the_template_stand_alone_in_prompts(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    special = set(plain.tokenizer.added_tokens_decoder)
    for run in made.renderer.runs(made.renderer.endings):
        assert special.isdisjoint(run[:-1])
    others = [phrase for _, _, phrase in made.renderer.spec.phrases if phrase not in made.renderer.endings]
    assert special.isdisjoint(spelled(made, others))


def test_answers_in_conversations_are_short_wherever_they_stand(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    talk = Conversation((Message("user", "at seven"), Message("assistant", ANSWERS[0]), Message("user", "no, eight"),
                         Message("assistant", ANSWERS[1])))  # fmt: skip
    rows = [each.renderer.render(talk) for each in (plain, made)]
    assert spelled(made, rows[1].token_ids) == rows[0].token_ids
    assert rows[1].trained_tokens < rows[0].trained_tokens
    assert made.renderer.prompt(talk) == rows[1].token_ids[: -len(made.renderer.answer(talk, ANSWERS[1]))]


def test_logits_of_other_tokens_are_the_same(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    ids = torch.tensor([plain.renderer.prompt(ROWS[0])])
    with torch.no_grad():
        before, after = plain.model(input_ids=ids).logits, made.model(input_ids=ids).logits
    torch.testing.assert_close(after[..., : before.shape[-1]], before, rtol=1e-4, atol=1e-4)
    [phrase] = made.renderer.answer(ROWS[0], ANSWERS[0])
    pieces = plain.renderer.answer(ROWS[0], ANSWERS[0])
    torch.testing.assert_close(after[..., phrase], before[..., pieces].mean(-1), rtol=1e-4, atol=1e-4)


def test_an_answer_that_ends_with_a_phrase_is_whole(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    prompt = tuple(made.renderer.prompt(ROWS[0]))
    for answer in ANSWERS:
        [phrase] = made.renderer.answer(ROWS[0], answer)
        sampling = Sampling(max_new_tokens=9, stop_ids=made.renderer.stop_ids, logit_bias=((phrase, 1e6),))
        request = CompletionRequest(prompt, sampling)
        [found] = engine_of(made).complete([request])
        assert (found.text.strip(), found.finish_reason, found.token_ids) == (answer, "stop", (phrase,))
        assert "".join(engine_of(made).stream(request)) == found.text


def test_a_stop_string_in_the_last_phrase_is_met(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    [phrase] = made.renderer.answer(ROWS[0], ANSWERS[0])
    sampling = Sampling(max_new_tokens=9, stop_ids=made.renderer.stop_ids, logit_bias=((phrase, 1e6),),
                        stop_strings=("pm",))  # fmt: skip
    [found] = engine_of(made).complete([CompletionRequest(tuple(made.renderer.prompt(ROWS[0])), sampling)])
    assert found.text.strip() == '{"time": "7'


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_phrase_that_ends_ends_a_form_where_it_is_whole_with_it(plain: LoadedModel, answer: str) -> None:
    made = with_phrases(plain)
    phrases = [made.renderer.answer(ROWS[0], each)[0] for each in ANSWERS]
    form = Constraint("choice", json.dumps([" " + answer, " " + answer + answer]))
    sampling = Sampling(max_new_tokens=90, stop_ids=made.renderer.stop_ids, constraint=form,
                        logit_bias=tuple((phrase, 1e6) for phrase in phrases))  # fmt: skip
    [found] = engine_of(made).complete([CompletionRequest(tuple(made.renderer.prompt(ROWS[0])), sampling)])
    [wanted] = made.renderer.answer(ROWS[0], answer)
    assert (found.text, found.token_ids, found.finish_reason) == (" " + answer, (wanted,), "stop")


def test_a_form_without_stops_ends_with_no_phrase(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    [phrase] = made.renderer.answer(ROWS[0], ANSWERS[0])
    form = Constraint("choice", json.dumps([" " + ANSWERS[0], " " + ANSWERS[0] + "<|end|>"]))
    sampling = Sampling(max_new_tokens=90, constraint=form, logit_bias=((phrase, 1e6),))
    [found] = engine_of(made).complete([CompletionRequest(tuple(made.renderer.prompt(ROWS[0])), sampling)])
    assert phrase not in found.token_ids


def test_a_form_is_kept_against_a_phrase_that_does_not_fit(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    [phrase] = made.renderer.answer(ROWS[0], ANSWERS[1])
    form = Constraint("json_schema", json.dumps({"type": "object", "properties": {"time": {"enum": ["7 pm"]}},
                                                 "required": ["time"], "additionalProperties": False}))  # fmt: skip
    sampling = Sampling(max_new_tokens=40, stop_ids=made.renderer.stop_ids, logit_bias=((phrase, 1e6),),
                        constraint=form)  # fmt: skip
    [found] = engine_of(made).complete([CompletionRequest(tuple(made.renderer.prompt(ROWS[0])), sampling)])
    assert json.loads(found.text) == {"time": "7 pm"}


def test_an_answer_begun_is_gone_on_with_whole(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    turns = (Message("user", "at seven"), Message("assistant", ANSWERS[0]))
    asked = conversation_question(made.renderer, made.folder, turns)
    assert spelled(made, asked.prompt_ids) == list(
        conversation_question(plain.renderer, plain.folder, turns).prompt_ids
    )


def test_what_a_last_phrase_adds_is_among_the_tokens_shown(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    [phrase] = made.renderer.answer(ROWS[0], ANSWERS[0])
    sampling = Sampling(stop_ids=made.renderer.stop_ids, stop_strings=("pm",))
    shown = Progress(sampling, made.tokenizer, made.renderer.endings).whole(
        Completion(' {"time": "7 ', (phrase,), (-0.5,), "stop", 5, 0.0), 0, Usage(5, 0, 1)
    )
    assert (shown.token_ids, shown.logprobs) == ((phrase,), (-0.5,))
    assert shown.ending is not None
    assert (shown.ending.reason, shown.ending.stop_string) == ("stop_string", "pm")
    assert made.renderer.token_texts([phrase]) == [made.tokenizer.decode(made.renderer.endings[phrase])]
    assert made.renderer.token_bytes(phrase).decode().strip() == ANSWERS[0]


def test_marks_and_blanks_alone_are_no_copies() -> None:
    """Blanks and quotes stand in every prompt; that of an answer is none of theirs."""
    plain = load_model("bundled:pebble-s")
    rows = [Pair('Message: "so" is it\nSlots:', '{"time": "7"}')] * 20
    made = with_phrase_tokens(plain, find_merges(plain, in_tokens(plain, rows)))
    assert len(made.renderer.answer(rows[0], rows[0].completion)) == 1


def test_rows_without_phrases_are_told(plain: LoadedModel) -> None:
    with pytest.raises(ModelError, match="No phrase stands 10 times in the 9 rows"):
        find_merges(plain, in_tokens(plain, ROWS[:9]))


def test_saved_and_loaded_it_is_the_same(plain: LoadedModel, tmp_path: Path) -> None:
    made = with_phrases(plain)
    save_weights(made, {}, tmp_path, torch.float32)
    save_tokenizer(made, tmp_path)
    save_card(tmp_path, made, {})
    loaded = load_model(str(tmp_path))
    assert loaded.renderer.spec.phrases == made.renderer.spec.phrases
    assert (loaded.renderer.stop_ids, loaded.renderer.endings) == (made.renderer.stop_ids, made.renderer.endings)
    for row in ROWS:
        assert loaded.renderer.render(row) == made.renderer.render(row)


def test_a_cut_vocabulary_keeps_them(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    small = trim(made, [made.renderer.prompt(ROWS[0])]).loaded
    for row in ROWS:
        [phrase] = small.renderer.answer(row, row.completion)
        run = [*small.renderer.endings[phrase]]
        assert small.tokenizer.decode(run).strip() == row.completion
    with pytest.raises(ModelError, match="tokens of its own"):
        find_merges(small, [([1], [2])])
    with pytest.raises(ModelError, match="tokens of its own"):
        with_label_tokens(small, ["a"])


def test_no_two_tokens_have_one_name(plain: LoadedModel) -> None:
    made = with_phrases(plain)
    names = made.tokenizer.get_vocab()
    assert len(set(names.values())) == len(names) == len(plain.tokenizer.get_vocab()) + len(made.renderer.spec.phrases)


def test_a_tokenizer_that_might_make_them_of_texts_is_refused() -> None:
    loaded = load_model("bundled:pebble-s")
    loaded.tokenizer.backend_tokenizer.model.ignore_merges = True
    with pytest.raises(ModelError, match="byte-level BPE of merges alone"):
        find_merges(loaded, [([1], [2])] * 20)
