"""Rows longer than the context: nothing is lost that was not asked for, and all of it is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.core.errors import DataError
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text
from outcrop.models.fitting import fit, fit_prompts
from outcrop.models.rendering import Renderer, RenderingSpec
from tests.models.chat import CHATML, HEADERS, tokenizer

PLAIN = Renderer(tokenizer("metaspace"))
CHAT = Renderer(tokenizer("byte-level"), RenderingSpec(chat_template=CHATML))
HEADED = Renderer(tokenizer("byte-level"), RenderingSpec(chat_template=HEADERS))


def length(made: Renderer, record: Record) -> int:
    return len(made.render(record).token_ids)


def text_of(made: Renderer, ids: list[int]) -> str:
    return str(made.tokenizer.decode(ids))


def dialogue(*contents: str, weights: tuple[float, ...] = (), line: int = 1) -> Conversation:
    """system, user, assistant, user, assistant, …"""
    roles = ("system", *("user", "assistant") * (len(contents) // 2))
    given = iter(weights)
    turns = [
        Message(role, text, next(given, 1.0) if role == "assistant" else 1.0)  # type: ignore[arg-type]
        for role, text in zip(roles, contents, strict=True)
    ]
    return Conversation(tuple(turns), Origin("rows.jsonl", line))


def test_rows_that_fit_stay_as_they_are() -> None:
    pairs = [Pair("a b c", "d"), Pair("e", "f")]
    for choice in ("refuse", "drop", "cut-prompt"):
        fitted = fit(PLAIN, pairs, length(PLAIN, pairs[0]), choice)
        assert fitted.rows == [PLAIN.render(pair) for pair in pairs]
        assert (fitted.cut, fitted.answers_left_out, fitted.dropped) == (0, 0, 0)


def test_refusal_names_how_many_how_long_and_which() -> None:
    pairs = [Pair("x" * (line * 10), "y", Origin("rows.csv", line)) for line in range(1, 10)]
    with pytest.raises(DataError) as caught:
        fit(PLAIN, pairs, 35, "refuse")
    said = str(caught.value)
    assert f"6 of 9 rows are longer than 35 tokens (longest {length(PLAIN, pairs[-1])})" in said
    assert "rows.csv:4, rows.csv:5, rows.csv:6, rows.csv:7, rows.csv:8 and others." in said
    assert "--over-long cut-prompt" in said


def test_drop_leaves_out_the_long_ones_and_counts_them() -> None:
    pairs = [Pair("x" * size, "y", Origin("f", size)) for size in (5, 500, 6, 600)]
    fitted = fit(PLAIN, pairs, 50, "drop")
    assert [row.origin.line for row in fitted.rows] == [5, 6]
    assert (fitted.cut, fitted.dropped) == (0, 2)


@given(prompt=st.text(st.sampled_from("card é😀\n"), min_size=1, max_size=60), room=st.integers(0, 30))
def test_cutting_takes_the_beginning_of_the_prompt_and_no_more_than_needed(prompt: str, room: int) -> None:
    pair = Pair(prompt, "the answer")
    answer = PLAIN.answer(pair, pair.completion)
    limit = 1 + len(answer) + room
    fitted = fit(PLAIN, [pair], limit, "cut-prompt")
    if not fitted.rows:
        assert fitted.dropped == 1
        assert length(PLAIN, Pair(prompt[-1], pair.completion)) > limit
        return
    [row] = fitted.rows
    assert len(row.token_ids) <= limit
    assert row.token_ids[0] == PLAIN.tokenizer.bos_token_id
    kept = [token for token, weight in zip(row.token_ids, row.weights, strict=True) if weight]
    assert text_of(PLAIN, kept).strip() == "the answer</s>"
    assert fitted.cut == (length(PLAIN, pair) > limit)


def test_cutting_is_as_small_as_it_can_be() -> None:
    pair = Pair("0123456789" * 5, "answer")
    limit = length(PLAIN, pair) - 7
    [row] = fit(PLAIN, [pair], limit, "cut-prompt").rows
    assert len(row.token_ids) == limit
    assert text_of(PLAIN, row.token_ids) == "<s> 789" + "0123456789" * 4 + " answer</s>"


def test_an_answer_that_does_not_fit_is_dropped_never_cut() -> None:
    fitted = fit(PLAIN, [Pair("q", "a" * 100)], 50, "cut-prompt")
    assert (fitted.rows, fitted.cut, fitted.dropped) == ([], 0, 1)
    assert fit(PLAIN, [Text("t" * 100)], 50, "cut-prompt").dropped == 1


@pytest.mark.parametrize("made", [CHAT, HEADED], ids=["chatml", "headers"])
def test_a_dialogue_loses_its_oldest_exchanges_first(made: Renderer) -> None:
    long = dialogue("be brief", "one?", "1", "two?", "2", "three?", "3")
    shorter = dialogue("be brief", "two?", "2", "three?", "3")
    for limit in (length(made, long) - 1, length(made, shorter)):
        fitted = fit(made, [long], limit, "cut-prompt")
        assert fitted.rows == [made.render(shorter)]
        assert (fitted.cut, fitted.answers_left_out, fitted.dropped) == (1, 1, 0)


@pytest.mark.parametrize("made", [CHAT, HEADED], ids=["chatml", "headers"])
def test_then_the_last_question_loses_its_beginning(made: Renderer) -> None:
    long = dialogue("be brief", "one?", "1", "0123456789 two?", "2")
    wanted = dialogue("be brief", "789 two?", "2")
    fitted = fit(made, [long], length(made, wanted), "cut-prompt")
    assert fitted.rows == [made.render(wanted)]
    assert (fitted.cut, fitted.answers_left_out, fitted.dropped) == (1, 1, 0)


def test_a_dialogue_is_dropped_rather_than_left_with_nothing_to_learn() -> None:
    long = dialogue("be brief", "one?" * 30, "1", "two?", "2", weights=(1.0, 0.0))
    fitted = fit(CHAT, [long], length(CHAT, long) - 1, "cut-prompt")
    [row] = fitted.rows
    assert row.trained_tokens == 2, "the first exchange stays, because only its answer is trained"
    fitted = fit(CHAT, [long], 60, "cut-prompt")
    assert (fitted.rows, fitted.dropped) == ([], 1)


@pytest.mark.parametrize("answer_tokens", [None, 12])
def test_prompts_leave_room_for_the_answer(answer_tokens: int | None) -> None:
    pairs = [Pair("x" * size, "yes", Origin("f", size)) for size in (5, 500, 6)]
    needed = answer_tokens or len(PLAIN.answer(pairs[0], "yes"))
    with pytest.raises(DataError, match=r"1 of 3 prompts leave no room .* \(longest \d+\): f:500\. Shorten it"):
        fit_prompts(PLAIN, pairs, 50, answer_tokens, "refuse", "Shorten it.")
    dropped = fit_prompts(PLAIN, pairs, 50, answer_tokens, "drop")
    assert (dropped.records, dropped.dropped) == ([pairs[0], pairs[2]], 1)
    cut = fit_prompts(PLAIN, pairs, 50, answer_tokens, "cut-prompt")
    assert [len(PLAIN.prompt(record)) for record in cut.records][1] == 50 - needed
    assert (cut.cut, cut.dropped) == (1, 0)


def test_the_account_says_only_what_was_done() -> None:
    pairs = [Pair("x" * size, "yes") for size in (5, 500, 6)]
    assert fit(PLAIN, pairs, 50, "cut-prompt").account == "1 prompt is cut at the start"
    assert fit(PLAIN, pairs, 50, "drop").account == "1 row is left out"
    assert fit(PLAIN, pairs[:1], 50, "drop").account == ""
