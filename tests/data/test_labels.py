"""When answers are labels."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from outcrop.data.labels import LONGEST_LABEL, MOST_LABELS, LabelCounter, label_set, measured_labels
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Text


def pairs(answers: Sequence[str]) -> list[Record]:
    return [Pair(f"question {number}", answer) for number, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("answers", "labels"),
    [
        (["yes", "no"] * 5, ("no", "yes")),
        ([" yes", "yes ", "no", "no"], ("no", "yes")),
        (["a", "b"] * 100 + ["c"], ("a", "b", "c")),
        (["yes"] * 10, None),
        ([f"answer {number}" for number in range(10)], None),
        (["a", "b"] * 10 + ["c", "d"], None),
        (["a", "b\nc"] * 10, None),
        (["a", "b" * (LONGEST_LABEL + 1)] * 10, None),
        ([str(number) for number in range(MOST_LABELS)] * 2, tuple(sorted(map(str, range(MOST_LABELS))))),
        ([str(number) for number in range(MOST_LABELS + 1)] * 2, None),
        ([], None),
    ],
)
def test_labels_are_few_short_and_repeated(answers: list[str], labels: tuple[str, ...] | None) -> None:
    assert label_set(pairs(answers)) == labels


def test_texts_and_long_dialogues_have_no_labels() -> None:
    once = (Message("user", "x"), Message("assistant", "yes"))
    assert label_set([Text("a"), Text("b")] * 5) is None
    other = (once[0], Message("assistant", "no"))
    assert label_set([Conversation(once), Conversation(other)] * 5) == ("no", "yes")
    assert label_set([Conversation(once + once), Conversation(once + other)] * 5) is None


def test_counts_and_first_places() -> None:
    counter = LabelCounter()
    for line, answer in enumerate(["b", "a", "b", "a"], 1):
        counter.add(Pair("x", answer, Origin("f", line)))
    assert counter.counts() == {"a": 2, "b": 2}
    assert counter.first == {"b": (Origin("f", 1), "completion"), "a": (Origin("f", 2), "completion")}


@pytest.mark.parametrize(
    ("answers", "trained", "labels", "unseen"),
    [
        (["yes", "no"] * 5, (), ("no", "yes"), {}),
        (["yes", "no"] * 5, ("yes", "no", "maybe"), ("maybe", "no", "yes"), {}),
        (["yes"], ("yes", "no"), ("no", "yes"), {}),
        (["yes", "new"], ("yes", "no"), ("new", "no", "yes"), {"new": 1}),
        (["new", "other"] * 3, ("yes", "no"), ("new", "no", "other", "yes"), {"new": 3, "other": 3}),
        ([f"answer {number}" for number in range(6)], ("yes", "no"), None, {}),
        ([f"answer {number}" for number in range(6)], (), None, {}),
    ],
)
def test_rows_are_measured_on_the_trained_labels_and_their_own(answers, trained, labels, unseen) -> None:
    found = measured_labels(pairs(answers), trained)
    assert (found.labels, found.unseen) == (labels, unseen)
    assert bool(found.account) == bool(unseen)
