"""Rows without an answer, in every format and by a mapping; what is broken in other ways is still told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from outcrop.core.errors import DataError
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.prompts import has_answer, read_prompts, with_answer, without_answer
from outcrop.data.records import Conversation, Message, Pair

USER = {"role": "user", "content": "Hello"}
BLOCKS = {"role": "user", "content": [{"text": "Hello"}]}
ASKED = Conversation((Message("user", "Hello"),))


def written(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def turns(record: Any) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in record.messages]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER]},
        {"schemaVersion": "bedrock-conversation-2024", "messages": [BLOCKS]},
        {"schemaVersion": "bedrock-conversation-2024", "system": [{"text": "Be kind."}], "messages": [BLOCKS]},
        {"messages": [{"role": "system", "content": "Be kind."}, USER]},
    ],
)
def test_a_conversation_may_end_with_the_user(tmp_path: Path, row: dict[str, Any]) -> None:
    (record,) = read_prompts(written(tmp_path, row))
    assert turns(record)[-1] == ("user", "Hello")
    assert not has_answer(record)
    assert turns(with_answer(record, "Hi"))[-2:] == [("user", "Hello"), ("assistant", "Hi")]


@pytest.mark.parametrize("row", [{"prompt": "Hello"}, {"text": "Hello"}, {"input": "Hello"}])
def test_a_prompt_may_stand_alone(tmp_path: Path, row: dict[str, Any]) -> None:
    (record,) = read_prompts(written(tmp_path, row))
    assert isinstance(record, Pair)
    assert (record.prompt, record.completion) == ("Hello", "")
    assert not has_answer(record)
    assert with_answer(record, "Hi").completion == "Hi"  # type: ignore[union-attr]


def test_answers_that_are_there_stay(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c"}]
    records = list(read_prompts(written(tmp_path, *rows)))
    assert [has_answer(record) for record in records] == [True, False]
    assert [record.completion for record in records] == ["b", ""]  # type: ignore[union-attr]
    talk = {"messages": [USER, {"role": "assistant", "content": "Hi"}]}
    (record,) = read_prompts(written(tmp_path, talk))
    assert has_answer(record)
    assert turns(without_answer(record)) == turns(ASKED)
    assert turns(with_answer(record, "Ho"))[-1] == ("assistant", "Ho")


def test_conversations_in_other_keys_may_end_with_the_user(tmp_path: Path) -> None:
    human = {"from": "human", "value": "Hello"}
    (record,) = read_prompts(written(tmp_path, {"conversations": [human]}))
    assert turns(record) == [("user", "Hello")]
    mapping = Mapping.from_text("messages=turns", "", "user=customer,assistant=clerk")
    spoken = [{"speaker": "customer", "utterance": "Hello"}, {"speaker": "clerk", "utterance": "Hi"}]
    records = list(read_prompts(written(tmp_path, {"turns": spoken[:1]}, {"turns": spoken}), mapping))
    assert [turns(each) for each in records] == [[("user", "Hello")], [("user", "Hello"), ("assistant", "Hi")]]


def test_a_mapping_whose_answer_column_is_not_there(tmp_path: Path) -> None:
    mapping = Mapping.from_text("prompt=text,completion=label", "Message: {prompt}\\nIntent:")
    records = list(read_prompts(written(tmp_path, {"text": "a"}, {"text": "b", "label": "x"}), mapping))
    assert [(r.prompt, r.completion) for r in records] == [  # type: ignore[union-attr]
        ("Message: a\nIntent:", ""), ("Message: b\nIntent:", "x"),
    ]  # fmt: skip


def test_a_template_alone_takes_prompts_alone(tmp_path: Path) -> None:
    """As a teacher that was tuned with a template, and nothing mapped, reads its prompts."""
    place = written(tmp_path, {"prompt": "at 4am"}, {"prompt": "at 5am", "completion": "later"})
    found = list(read_prompts([place], Mapping.from_text(template="Text: {prompt}\\nSlots:")))
    assert [(record.prompt, record.completion) for record in found if isinstance(record, Pair)] == [
        ("Text: at 4am\nSlots:", ""), ("Text: at 5am\nSlots:", "later"),
    ]  # fmt: skip


def test_what_is_broken_is_still_told(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "a"}, {"prompt": " "}, {"prompt": 7})
    problems = Problems()
    assert len(list(read_prompts(path, problems=problems))) == 1
    assert problems.rows_with_errors == 2
    with pytest.raises(DataError):
        list(read_prompts(path))
