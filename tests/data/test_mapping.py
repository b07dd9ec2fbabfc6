"""Columns to records: mappings, templates, lists, numbers, dialogues, and everything that can be wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from outcrop.core.errors import UsageError
from outcrop.data.mapping import Mapping, apply, is_filled
from outcrop.data.problems import Problems, Site
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text

ORIGIN = Origin("rows.csv", 4)
Row = dict[str, Any]


def mapped(columns: str, row: dict[str, Any], template: str = "", roles: str = "") -> tuple[Record | None, Problems]:
    mapping = Mapping.from_text(columns, template, roles)
    assert mapping is not None
    problems = Problems()
    return apply(mapping, row, Site(problems, ORIGIN)), problems


def test_two_columns_make_a_pair_and_the_others_stay() -> None:
    record, problems = mapped("prompt=text,completion=label", {"text": "Hi", "label": "greeting", "id": 7})
    assert record == Pair("Hi", "greeting", ORIGIN, {"id": 7})
    assert not problems


def test_a_template_is_filled_with_targets_and_columns() -> None:
    row = {"text": "Hi", "label": "greeting", "channel": "mail", "year": 2024, "urgent": True, "tags": ["a", "b"]}
    template = r"{channel} {year} {urgent} {tags[]}\nMessage: {prompt}\tIntent {{x}} \\n:"
    record, problems = mapped("prompt=text,completion=label", row, template)
    assert isinstance(record, Pair)
    assert record.prompt == "mail 2024 true a b\nMessage: Hi\tIntent {x} \\n:"
    assert not problems


@pytest.mark.parametrize(
    ("template", "text", "found"),
    [
        ("Message: {prompt}\nIntent:", "Message: Hi\nIntent:", True),
        ("Message: {prompt}\nIntent:", "Message: \nIntent:", True),
        ("Message: {prompt}\nIntent:", "Message: Hi", False),
        ("Message: {prompt}\nIntent:", "Hi\nIntent:", False),
        ("aXa{prompt}aXa", "aXaXa", False),
        ("{context}\nQuestion: {prompt}\nAnswer:", "It rains.\nQuestion: Does it?\nAnswer:", True),
        ("{context}\nQuestion: {prompt}\nAnswer:", "It rains.\nAnswer:\nQuestion: Does it?", False),
        ("{{x}} {prompt}", "{x} Hi", True),
        ("{prompt} {text}", "Hi there", False),
        ("the same for all", "the same for all", True),
        ("the same for all", "the same for all of us", False),
    ],
)
def test_texts_that_have_a_templates_words_already(template: str, text: str, found: bool) -> None:
    assert is_filled(template, text) is found


def test_a_template_alone_frames_rows_that_have_a_prompt() -> None:
    record, _ = mapped("", {"prompt": "Hi", "completion": "Hello"}, "User: {prompt}")
    assert record == Pair("User: Hi", "Hello", ORIGIN)
    record, _ = mapped("completion=label", {"text": "Hi", "label": "x"}, "{text} =")
    assert record == Pair("Hi =", "x", ORIGIN, {"text": "Hi"})


def test_a_system_column_makes_a_conversation() -> None:
    record, _ = mapped("system=s,prompt=p,completion=c", {"s": "Be brief.", "p": "Hi", "c": "Hello"})
    messages = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello"))
    assert record == Conversation(messages, ORIGIN)


def test_a_text_column_makes_texts() -> None:
    record, _ = mapped("text=body", {"body": "Long", "title": "T"})
    assert record == Text("Long", ORIGIN, {"title": "T"})
    record, _ = mapped("text=body", {"body": "Long", "title": "T"}, r"# {title}\n{text}")
    assert record == Text("# T\nLong", ORIGIN, {"title": "T"})


@pytest.mark.parametrize(
    ("columns", "row", "completion"),
    [
        ("prompt=q,completion=a[]", {"q": "x", "a": ["one", "two"]}, "one two"),
        ("prompt=q,completion=a[1]", {"q": "x", "a": ["one", "two"]}, "two"),
        ("prompt=q,completion=a{}", {"q": "x", "a": [{"slot": "é", "n": 1}]}, '[{"slot": "é", "n": 1}]'),
    ],
)
def test_lists_are_taken_apart_only_if_asked(columns: str, row: Row, completion: str) -> None:
    record, problems = mapped(columns, row)
    assert isinstance(record, Pair)
    assert record.completion == completion
    assert not problems
    record, problems = mapped(columns.rstrip("[]01{}"), row)
    assert record is None
    (problem,) = problems.examples()
    assert (problem.code, problem.field) == ("wrong-type", "a")
    assert "a{} for JSON" in problem.message


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (2.5, "2.5"), (True, "true")])
def test_number_labels_become_text_with_a_warning(value: Any, text: str) -> None:
    record, problems = mapped("prompt=q,completion=a", {"q": "x", "a": value})
    assert isinstance(record, Pair)
    assert record.completion == text
    assert [(problem.code, problem.field) for problem in problems.examples()] == [("number-as-label", "a")]
    record, problems = mapped("prompt=a,completion=q", {"q": "x", "a": value})
    assert isinstance(record, Pair)
    assert (record.prompt, bool(problems)) == (text, False)


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        ({"txt": "x", "label": "y"}, "missing-field", "text"),
        ({"text": None, "label": "y"}, "null-content", "text"),
        ({"text": "x", "label": " "}, "whitespace-only", "label"),
        ({"text": "", "label": "y"}, "empty-content", "text"),
        ({"text": {"a": 1}, "label": "y"}, "wrong-type", "text"),
        ({"text": "x", "label": float("nan")}, "not-a-number", "label"),
        ({"text": b"x", "label": "y"}, "wrong-type", "text"),
    ],
)
def test_unusable_values_are_reported_at_their_column(row: dict[str, Any], code: str, field: str) -> None:
    record, problems = mapped("prompt=text,completion=label", row)
    assert record is None
    assert [(problem.code, problem.field, problem.origin) for problem in problems.examples()] == [(code, field, ORIGIN)]


@pytest.mark.parametrize("value", ["x", [], ["a", 1], [None]])
def test_values_that_are_no_lists_of_texts_are_reported(value: Any) -> None:
    record, problems = mapped("prompt=text[],completion=label", {"text": value, "label": "y"})
    assert record is None
    assert problems.errors == 1


def test_values_that_json_cannot_hold_are_reported() -> None:
    record, problems = mapped("prompt=text,completion=label{}", {"text": "x", "label": {1, 2}})
    assert record is None
    assert problems.count("wrong-type") == 1


def test_missing_columns_come_with_a_suggestion() -> None:
    _, problems = mapped("prompt=txt,completion=label", {"text": "x", "label": "y"})
    (problem,) = problems.examples()
    assert str(problem) == "rows.csv:4: txt: no 'txt'. Did you mean: text?"
    _, problems = mapped("prompt=text,completion=label", {"text": "x", "label": "y"}, "{chanel}: {prompt}")
    assert [problem.field for problem in problems.examples()] == ["chanel"]


DIALOGUES = [
    ([{"speaker": "A", "utterance": "Hi"}, {"speaker": "SYSTEM", "utterance": "Hello"}], "user=A,assistant=SYSTEM"),
    ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], ""),
    ([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], ""),
    ([{"speaker": "Customer", "text": "Hi"}, {"speaker": "Agent", "text": "Hello"}], ""),
]


@pytest.mark.parametrize(("turns", "roles"), DIALOGUES)
def test_dialogues_are_read_whatever_their_keys(turns: list[dict[str, str]], roles: str) -> None:
    record, problems = mapped("messages=turns", {"turns": turns, "id": 1}, roles=roles)
    assert record == Conversation((Message("user", "Hi"), Message("assistant", "Hello")), ORIGIN, {"id": 1})
    assert not problems


def test_unnamed_roles_are_met_with_the_flag_to_name_them() -> None:
    turns = [{"speaker": "USER", "utterance": "Hi"}, {"speaker": "SYSTEM", "utterance": "Hello"}]
    record, problems = mapped("messages=turns", {"turns": turns * 2})
    assert record is None
    (problem,) = problems.examples()
    assert (problem.code, problem.field) == ("unknown-role", "turns")
    assert "--roles user=USER,assistant=SYSTEM" in problem.message


def test_a_system_column_goes_before_mapped_messages() -> None:
    record, _ = mapped("messages=turns,system=s", {"turns": DIALOGUES[1][0], "s": "Be brief."})
    assert isinstance(record, Conversation)
    assert record.messages[0] == Message("system", "Be brief.")


@pytest.mark.parametrize(
    ("columns", "template", "roles", "message"),
    [
        ("prompt", "", "", "'prompt' is not NAME=COLUMN"),
        ("prompt=a,prompt=b", "", "", "prompt is given twice"),
        ("promt=a,completion=b", "", "", "Did you mean: prompt?"),
        ("prompt=a", "", "", "do not make a record"),
        ("prompt=a,completion=b,text=c", "", "", "do not make a record"),
        ("text=a,system=b", "", "", "do not make a record"),
        ("messages=a", "{x}", "", "do not go together"),
        ("prompt=a,completion=b", "{prompt} {b}", "", "show the answer"),
        ("prompt=a,completion=b", "{prompt} {completion}", "", "show the answer"),
        ("prompt=a,completion=b", "{prompt} {", "", "lone '{'"),
        ("prompt=a,completion=b", "{} {prompt}", "", "lone '{}'"),
        ("messages=a", "", "usr=A", "Did you mean: user?"),
        ("prompt=a,completion=b", "", "user=A", "roles are for a mapping of messages"),
    ],
)
def test_wrong_mappings_are_refused(columns: str, template: str, roles: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Mapping.from_text(columns, template, roles)
    assert message in str(caught.value)


def test_no_words_no_mapping() -> None:
    assert Mapping.from_text() is None
