"""Whether the answers of a set are labels: a closed set of short words, as in classification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from outcrop.data.origins import Origins
from outcrop.data.records import Conversation, Origin, Record, Text, answer_text, parts

MOST_LABELS = 1000
LONGEST_LABEL = 100
"""Characters."""

LARGEST_SHARE_ALONE = 0.01
"""Share of the rows whose answer may occur only once: mistyped labels do not make a set of labels an open one."""


MOST_UNSEEN = 0.5
"""Share of rows with answers that are not among a model's labels, up to which these rows ask for labels, too."""

NAMED_LABELS = 5


class LabelCounter:
    """Counts answers as rows stream by, and gives up, in bounded memory, once they cannot be labels.

    Answers are labels if there are 2 to MOST_LABELS different ones, each one line of at most LONGEST_LABEL characters,
    at least twice as many rows as labels, and no more than 1 % of the rows (at least one) with an answer of their own.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._open = False
        self.first: dict[str, tuple[Origin, str]] = {}
        """Where each label occurs first: row and field."""
        self.origins: dict[str, Origins] = {}
        """Every row of each label."""
        self.padded: dict[str, Origins] = {}
        """The rows of each label that have white space around it."""

    def add(self, record: Record) -> None:
        """Count the answer of one record."""
        if self._open:
            return
        given = answer_text(record)
        answer = given.strip()
        if given != answer:
            self.padded.setdefault(answer, Origins()).append(record.origin)
        self._counts[answer] += 1
        self.first.setdefault(answer, (record.origin, parts(record)[-1].field))
        self.origins.setdefault(answer, Origins()).append(record.origin)
        if not may_be_label(record, answer) or len(self._counts) > MOST_LABELS:
            self._open = True
            self._counts.clear()
            self.first.clear()
            self.origins.clear()
            self.padded.clear()

    def uneven(self) -> dict[str, list[Origin]]:
        """The rows of each label that have white space around it where most have none, or none where most have some."""
        found = {}
        for label, padded in self.padded.items():
            every = self.origins[label]
            if len(padded) < len(every):
                few = [padded[row] for row in range(len(padded))]
                if 2 * len(padded) > len(every):
                    with_space = set(few)
                    few = [every[row] for row in range(len(every)) if every[row] not in with_space]
                found[label] = few
        return found

    def counts(self) -> dict[str, int] | None:
        """Rows per label, by label; None where the answers are not labels."""
        closed = not self._open and are_labels(list(self._counts.values()))
        return dict(sorted(self._counts.items())) if closed else None

    def by_file(self) -> dict[str, dict[str, int]]:
        """Rows of each label in each file: file → label → rows."""
        found: dict[str, dict[str, int]] = {}
        for label, origins in self.origins.items():
            for file, rows in origins.by_file().items():
                found.setdefault(file, {})[label] = rows
        return found


def may_be_label(record: Record, answer: str) -> bool:
    """Whether a record's answer, without white space around it, is short enough for a label."""
    many_turns = isinstance(record, Conversation) and sum(turn.role == "assistant" for turn in record.messages) > 1
    short = bool(answer) and "\n" not in answer and len(answer) <= LONGEST_LABEL
    return short and not many_turns and not isinstance(record, Text)


def are_labels(counts: Sequence[int]) -> bool:
    """Whether answers that all may be labels are a closed set of them, by how many rows each different one has."""
    rows, alone = sum(counts), sum(count == 1 for count in counts)
    return 2 <= len(counts) <= min(rows / 2, MOST_LABELS) and alone <= max(1, LARGEST_SHARE_ALONE * rows)


def label_set(records: Iterable[Record]) -> tuple[str, ...] | None:
    """The labels of a classification set, sorted; None where the answers are not labels. The rule is LabelCounter's."""
    counter = LabelCounter()
    for record in records:
        counter.add(record)
    counts = counter.counts()
    return tuple(counts) if counts else None


class MeasuredLabels(NamedTuple):
    """The closed set that answers are chosen from, None where answers are open; rows whose label training never saw."""

    labels: tuple[str, ...] | None
    unseen: dict[str, int]

    @property
    def account(self) -> str:
        """The unseen labels in a sentence, empty where there are none."""
        if not self.unseen:
            return ""
        named = ", ".join(f"{label} ({count})" for label, count in list(self.unseen.items())[:NAMED_LABELS])
        more = ", …" if len(self.unseen) > NAMED_LABELS else ""
        return f"{sum(self.unseen.values())} test rows have labels that training never saw: {named}{more}."


def measured_labels(records: Sequence[Record], trained: Iterable[str]) -> MeasuredLabels:
    """The labels that a model was trained with, and those of the rows themselves.

    Answers are open where most of the rows have one that was not trained, and these are no labels by themselves.
    """
    found, known = label_set(records), set(trained)
    if not known:
        return MeasuredLabels(found, {})
    unseen = Counter(answer for record in records if (answer := answer_text(record).strip()) not in known)
    if found is None and unseen.total() > MOST_UNSEEN * len(records):
        return MeasuredLabels(None, {})
    return MeasuredLabels(tuple(sorted(known | set(unseen))), dict(unseen.most_common()))
