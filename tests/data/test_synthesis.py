"""What a model is asked to make, and which of its texts are taken."""

from __future__ import annotations

from collections import Counter

import pytest

from outcrop.core.errors import DataError, UsageError
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text
from outcrop.data.synthesis import Judge, SynthesisSpec, made_of, plan, prompt_of
from outcrop.data.synthetic import FIELD, marked, prompt_key

ROW = Pair("Where is order 12?", "delay", Origin("rows.jsonl", 4), {"customer": 7})


def labelled(*counts: int) -> list[Record]:
    return [Pair(f"row {label} {row}", f"label {label}") for label, count in enumerate(counts) for row in range(count)]


def test_rare_labels_are_planned_up_to_their_share() -> None:
    records = labelled(40, 10, 2)
    wanted = plan(records, SynthesisSpec(balance=0.5, most_per_row=3))
    made = Counter(records[row].completion for row, _ in wanted if isinstance(records[row], Pair))
    assert made == {"label 1": 10, "label 2": 6}
    assert wanted == sorted(set(wanted))
    assert plan(records, SynthesisSpec(balance=0.5, most_per_row=3)) == wanted
    assert len(plan(records, SynthesisSpec(per_row=2))) == 2 * len(records)


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:4 has an answer already"):
        plan([ROW], SynthesisSpec(how="answer"))
    with pytest.raises(DataError, match="text without an answer"):
        plan([Text("a")], SynthesisSpec())
    with pytest.raises(DataError, match="no labels"):
        plan([ROW], SynthesisSpec(balance=0.5))
    for values in ({"how": "answer", "balance": 0.5}, {"instruction": "Say it again."}, {"instruction": "{text}"}):
        with pytest.raises(UsageError):
            SynthesisSpec.parse(values)


@pytest.mark.parametrize(("text", "ended", "reason"), [
    ("Where might order 12 be?", True, ""),
    ("Where might order 12 be?", False, "cut-off"),
    ("  ", True, "empty"),
    ("Where is order 12\ufffd?", True, "broken-characters"),
    ("where is  ORDER 12?", True, "same-as-source"),
    ("Where might the order be?", True, "other-numbers"),
    ("Another row with 12.", True, "repeats"),
])  # fmt: skip
def test_texts_of_no_use_are_named(text: str, ended: bool, reason: str) -> None:
    judge = Judge({prompt_key("another row with 12.")}, SynthesisSpec())
    assert judge.reason(ROW.prompt, text, ended=ended) == reason
    if not reason:
        assert judge.reason(ROW.prompt, text, ended=True) == "repeats"


def test_the_row_that_is_made_says_where_it_came_from() -> None:
    mark = {"how": "paraphrase", "model": "m", "file": "rows.jsonl", "line": 4,
            "key": f"{prompt_key(ROW.prompt):016x}"}  # fmt: skip
    made = made_of(ROW, "new", SynthesisSpec(), "m")
    assert made == Pair("new", "delay", ROW.origin, {"customer": 7, FIELD: mark})
    assert marked(made)
    turns = (Message("system", "s"), Message("user", "a"), Message("assistant", "b"))
    spoken = made_of(Conversation(turns), "new", SynthesisSpec(), "m")
    assert isinstance(spoken, Conversation)
    assert [turn.content for turn in spoken.messages] == ["s", "new", "b"]
    assert prompt_of(Conversation((*turns, *turns[1:]))) is None
    assert made_of(Text("a"), "b", SynthesisSpec(how="answer"), "m").fields[FIELD]["how"] == "answer"
