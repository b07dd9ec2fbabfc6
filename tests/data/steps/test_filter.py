"""Filters: what is dropped, what is only counted, and expressions that are never evaluated as Python."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text
from outcrop.data.steps import expressions, quality
from outcrop.data.steps.filter import Filter, FilterSpec
from outcrop.data.steps.step import Tools

PAIR = Pair("Where is my parcel today?", "It is at stop 12.", Origin("a.jsonl", 7), {"score": 0.7, "label": "where"})


def reason(record: Record, tools: Tools | None = None, **parameters: object) -> str | None:
    outcome = Filter(FilterSpec.parse(parameters), tools or Tools())(record)
    return outcome.drop.code if outcome.drop else None


def noted(record: Record, **parameters: object) -> dict[str, int]:
    return dict(Filter(FilterSpec.parse(parameters))(record).notes)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, None),
        ({"min_chars": 42}, None),
        ({"min_chars": 43}, "too-short"),
        ({"max_chars": 41}, "too-long"),
        ({"keep_matching": ["parcel", r"stop \d+"]}, None),
        ({"keep_matching": ["parcel", "letter"]}, "pattern"),
        ({"drop_matching": [r"\bstop\b"]}, "pattern"),
        ({"keep_if": ['len(completion) > 5 and not matches(prompt, "^test")']}, None),
        ({"keep_if": ["words(prompt) >= 6"]}, "expression"),
        ({"drop_if": ['fields["score"] < 0.5']}, None),
        ({"drop_if": ['"parcel" in lower(prompt)']}, "expression"),
    ],
)
def test_what_decides_against_a_row(parameters: dict[str, object], expected: str | None) -> None:
    assert reason(PAIR, **parameters) == expected


def test_tokens_are_counted_by_the_tokenizer_that_is_named() -> None:
    tools = Tools(token_counter=lambda model: lambda text: len(text) * len(model))
    assert reason(PAIR, tools, max_tokens=84, tokenizer="ab") is None
    assert reason(PAIR, tools, max_tokens=83, tokenizer="ab") == "too-long"
    with pytest.raises(UsageError, match="without a tokenizer"):
        Filter(FilterSpec(max_tokens=5))


def test_a_predicate_of_the_caller_decides() -> None:
    assert reason(PAIR, Tools(predicates=(is_short,))) == "predicate"


def is_short(record: Record) -> bool:
    return isinstance(record, Pair) and len(record.prompt) < 5


@pytest.mark.parametrize(
    ("record", "sign"),
    [
        (Pair("Why?", " Why? "), "answer-is-prompt"),
        (Pair("Where is my parcel, please, today?", "Where is my parcel, please, today? At home."), "prompt-in-answer"),
        (Pair("Help", "I'm sorry, but as an AI language model I cannot."), "refusal"),
        (Pair("Help", "As an AI developed to help, I have no view."), "refusal"),
        (Pair("Help", "I cannot assist with that request."), "refusal"),
        (Pair("Write", "The end was [truncated]"), "cut-off"),
        (Pair("Write", "```python\nx = 1\n"), "cut-off"),
        (Pair("Write", "The house on the hill is old and stands alone. " * 5 + "It was built by the"), "cut-off"),
        (Pair("Give JSON", '{"name": "Eva", "age": 3'), "broken-json"),
        (Text("the same four words again and " * 30), "repetition"),
        (Pair("What the fuck is this?", "A house."), "listed-word"),
    ],
)
def test_signs_of_a_bad_answer_are_counted_or_dropped(record: Record, sign: str) -> None:
    parameter = {"refusal": "refusals", "prompt-in-answer": "prompt_in_answer", "listed-word": "listed_words"}.get(
        sign, sign.replace("-", "_")
    )
    assert noted(record, **{parameter: "count"}).get(sign) == 1
    assert reason(record, **{parameter: "drop"}) == sign
    assert sign not in noted(record, **{parameter: "off"})


@pytest.mark.parametrize(
    "answer",
    [
        "Lima", '{"a": [1, 2]}', "[see page 3] It is open.", "I am sorry to hear that. We will send a new one.",
        "SELECT a FROM t", "I can help with that.", "[1, 2]", "{name} is a placeholder",
    ],
)  # fmt: skip
def test_good_answers_have_no_sign(answer: str) -> None:
    assert noted(Pair("Ask me", answer)) == {}


def test_the_answer_of_a_conversation_is_its_last_turn() -> None:
    turns = (Message("user", "Hello"), Message("assistant", "Hello"), Message("user", "x"), Message("assistant", "y"))
    assert reason(Conversation(turns)) is None
    assert reason(Conversation(turns[:2])) == "answer-is-prompt"


def test_languages(tmp_path: Path) -> None:
    german = Pair("Wo ist mein Paket, das gestern hier sein sollte?", "Es liegt noch im Lager der Post.")
    assert reason(german, languages=["en"]) == "language"
    assert reason(german, languages=["en", "de"]) is None
    assert noted(Pair("Où?", "Là."), languages=["en"]) == {"language-uncertain": 1}
    with pytest.raises(UsageError, match="Unknown language english"):
        Filter(FilterSpec(languages=("english",)))
    words = tmp_path / "words.txt"
    words.write_text("parcel\nstop sign\n")
    assert noted(PAIR, word_list=str(words)) == {"listed-word": 1}


def test_a_filter_can_be_sent_to_a_worker() -> None:
    step = pickle.loads(pickle.dumps(Filter(FilterSpec(keep_if=("len(prompt) > 100",)))))
    assert step(PAIR).drop.code == "expression"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 < 2 <= 2", True), ("1 < 2 < 2", False), ("not (kind == 'pair')", False),
        ("line == 7 and file in ['a.jsonl']", True),
        ("len(prompt) + len(completion) == 42", True), ("-1 < 0", True), ("fields['label'] not in ('a', 'b')", True),
        ("'absent' in fields and fields['absent'] > 1", False),
        ("turns * 2 / 4 == 1", True), ("words(text) - 3 > 5", True),
    ],
)  # fmt: skip
def test_expressions(text: str, value: bool) -> None:
    assert expressions.parse(text)(PAIR) is value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "prompt.__class__", "(lambda: 1)()", "[x for x in text]", "open('a')",
        "f'{prompt}'", "prompt if 1 else 2", "2 ** 99", "prompt is None", "len(prompt, text)", "matches(prompt, text)",
        "matches(prompt, '(')", "promt == ''", "a = 1", "fields['a']['b']", "len(*fields)", "(" * 500 + "1" + ")" * 500,
        "1 " * 2000, "b'a' == 1", "...",
    ],
)  # fmt: skip
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        expressions.parse(text)
    with pytest.raises(UsageError, match="keep_if"):
        FilterSpec.parse({"keep_if": [text]})


@pytest.mark.parametrize("text", ["fields['absent'] > 1", "prompt > 3", "1 / 0 > 1", "'a' * 10 == ''", "len(line) > 1"])
def test_an_expression_without_a_value_names_the_row(text: str) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:7: "):
        expressions.parse(text)(PAIR)


def test_repetition_is_a_share_of_groups_of_words() -> None:
    assert quality.repetition("a b c d " * 10) == pytest.approx(1 - 4 / 37)
    assert quality.repetition("too few words") == 0
