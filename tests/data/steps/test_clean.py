"""Clean: what is repaired, what is left alone, and that nothing happens unsaid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.data.records import Conversation, Message, Pair, Text
from outcrop.data.steps.clean import Clean, CleanSpec
from outcrop.data.steps.repair import REPAIRS, is_code

EVERYTHING = CleanSpec(completions=True, code=True)


def cleaned(text: str, **parameters: bool) -> str:
    outcome = Clean(CleanSpec(**parameters))(Text(text))
    assert isinstance(outcome.record, Text)
    return outcome.record.text


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("the cafÃ© is open", "the café is open", "encoding"),
        ("donâ€™t go", "don’t go", "encoding"),
        ("cafe\u0301", "café", "normal-form"),
        ("a\x07b\x1b[31mred\x1b[0m", "abred", "control-characters"),
        ("Tom &amp; Jerry&nbsp;&#39;s", "Tom & Jerry 's", "html"),
        ("<p>Hello <b>you</b></p>", "Hello you", "html"),
        ("one<br/>two", "one\ntwo", "html"),
        ("  two  words\t here \r\n\r\n\r\n\r\nend ", "two words here\n\nend", "white-space"),
        ("a\u00a0b\u200bc", "a bc", "white-space"),
    ],
)
def test_repairs(before: str, after: str, code: str) -> None:
    outcome = Clean()(Text(before))
    assert outcome.record == Text(after)
    assert code in outcome.changes[0].codes
    assert (outcome.changes[0].before, outcome.changes[0].after) == (before, after)


@pytest.mark.parametrize(
    "text",
    [
        "“Curly” quotes and an ﬁ ligature stay",
        "5 < 6 and 7 > 3, a <T> b",
        "What does <div> do in HTML? <div></div>",
        "    indented\n    lines",
        "naïve café, Ærø, 東京, 👩‍👩‍👧",
        "SELECT a  FROM t  WHERE x = 'cafÃ©'",
        "```\nx  =  1\n```",
        "def f(x):\n    return x;  \n",
    ],
)
def test_left_alone(text: str) -> None:
    assert Clean()(Text(text)).record == (Text(text.strip()) if not is_code(text) else Text(text))


def test_a_completion_stays_verbatim_and_is_counted() -> None:
    record = Pair("ask", "  an &amp; answer ")
    kept = Clean()(record)
    assert kept.record == record
    assert kept.notes == {"verbatim-completion": 1}
    assert not kept.changes
    asked = Clean(CleanSpec(completions=True))(record)
    assert asked.record == Pair("ask", "an & answer")
    assert asked.changes[0].field == "completion"


def test_turns_of_the_assistant_are_completions() -> None:
    turns = (
        Message("user", " a  b "),
        Message("assistant", " c  d ", 0.0),
        Message("user", "e"),
        Message("assistant", "f"),
    )
    outcome = Clean()(Conversation(turns))
    assert isinstance(outcome.record, Conversation)
    assert [turn.content for turn in outcome.record.messages] == ["a b", " c  d ", "e", "f"]
    assert outcome.record.messages[1].weight == 0.0


def test_nothing_left_is_dropped() -> None:
    outcome = Clean()(Pair("&nbsp;\u200b", "x"))
    assert outcome.drop is not None
    assert (outcome.drop.code, outcome.drop.detail) == ("empty", "prompt")


def test_a_text_that_was_cut_inside_a_character_is_dropped_unless_kept() -> None:
    record = Pair("ask", "an answer that en\ufffd")
    dropped = Clean()(record).drop
    assert dropped is not None
    assert dropped.code == "cut-off"
    assert Clean(CleanSpec(cut_off="keep"))(record).record == record


@given(st.text(max_size=60))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    step = Clean(EVERYTHING)
    once = step(Text(text)).record
    if once is not None:
        assert step(once).record == once


@pytest.mark.parametrize("name", list(REPAIRS))
@given(text=st.text("abc &;<>/br#39\n\t\u00e9\u0301\x07", max_size=30))
def test_repairs_never_fail(name: str, text: str) -> None:
    REPAIRS[name](text)
