"""Counterfactual rows: words exchanged in both directions, marked, and readable as test rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.core.errors import UsageError
from outcrop.data.counterfactual import counterfactuals, swap, write_counterfactuals
from outcrop.data.reading import load
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text
from outcrop.data.terms import Swap, read_terms

TERMS = read_terms()
GENDER = TERMS.swaps["gender"]

SENTENCES = [
    ("He lost his card.", "She lost her card."),
    ("I gave him HIS money", "I gave her HER money"),
    ("Is it hers or his?", "Is it his or hers?"),
    ("I saw her yesterday with her brother.", "I saw him yesterday with his sister."),
    ("James told Mary that the man, a father, left.", "Mary told James that the woman, a mother, left."),
    ("The theme of this chapter", "The theme of this chapter"),
    ("SHE said: he's here", "HE said: she's here"),
    ("mary had a lamb", "mary had a lamb"),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_words_are_exchanged_with_their_case(text: str, expected: str) -> None:
    assert swap(text, GENDER).text == expected


@given(st.lists(st.sampled_from(["he", "She", "MAN", "women", "James", "Emily", "walks", "the", "dog."]), max_size=12))
def test_exchanging_twice_gives_the_text_back(words: list[str]) -> None:
    text = " ".join(words)
    assert swap(swap(text, GENDER).text, GENDER).text == text


def test_changes_are_named_once() -> None:
    assert swap("He and he and Sarah", TERMS.swaps["origin"]).changes == ("Sarah → Aisha",)
    assert swap("He and he", GENDER).changes == ("He → She", "he → she")


def test_rows_are_made_where_the_prompt_changes_and_are_marked(tmp_path: Path) -> None:
    turns = [("user", "Is Emily in?"), ("assistant", "She is."), ("user", "Why?"), ("assistant", "x")]
    talk = Conversation(tuple(Message(role, text) for role, text in turns), Origin("talk.jsonl", 1))
    records: list[Record] = [
        Pair("My husband lost his card", "card_lost", Origin("rows.jsonl", 7), {"id": 3}),
        Pair("I lost a card", "he said", Origin("rows.jsonl", 8)),
        talk,
        Text("She sang.", Origin("text.jsonl", 2)),
    ]
    found = counterfactuals(records, TERMS.swaps)
    assert [(each.kind, str(each.original.origin)) for each in found] == [
        ("gender", "rows.jsonl:7"), ("gender", "talk.jsonl:1"), ("origin", "talk.jsonl:1"), ("gender", "text.jsonl:2"),
    ]  # fmt: skip
    swapped = found[0].swapped
    assert isinstance(swapped, Pair)
    assert (swapped.prompt, swapped.completion) == ("My wife lost her card", "card_lost")
    assert swapped.fields == {
        "id": 3, "synthetic": "counterfactual gender", "of": "rows.jsonl:7", "swapped": ["husband → wife", "his → her"],
    }  # fmt: skip
    assert found[1].swapped.messages[1].content == "He is."  # type: ignore[union-attr]
    write_counterfactuals(found[:1], tmp_path)
    (original,), (made,) = load(tmp_path / "original.jsonl"), load(tmp_path / "swapped.jsonl")
    assert original.fields == {"of": "rows.jsonl:7"}
    assert made.fields["synthetic"] == "counterfactual gender"
    assert json.loads((tmp_path / "swapped.jsonl").read_text())["prompt"] == "My wife lost her card"


def test_a_file_of_terms_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "terms.toml"
    path.write_text('[slices.size]\nsmall = ["tiny"]\n[swaps.town]\nnames = [["Bonn", "Kiel"]]\n')
    terms = read_terms(path)
    assert terms.groups("A TINY thing") == {"size": {"small"}}
    assert swap("bonn, Bonn", terms.swaps["town"]).text == "bonn, Kiel"
    assert Swap().words == ()
    for content in ("[swap.town]\n", "[slices.size]\nsmall = 3\n", "[[["):
        path.write_text(content)
        with pytest.raises(UsageError):
            read_terms(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_terms(tmp_path / "absent.toml")


def test_groups_that_a_text_names() -> None:
    assert TERMS.groups("She asked her son.") == {"gender": {"female", "male"}}
    assert TERMS.groups("A theme") == {}
