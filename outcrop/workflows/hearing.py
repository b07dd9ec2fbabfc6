"""What students learn from a remote teacher beyond its answers: decided by what its endpoint tells, and said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from outcrop.data.records import Conversation, Pair, Record, answer_text
from outcrop.models.rendering import Renderer
from outcrop.models.token_bytes import token_bytes
from outcrop.training.distillation.likeliest import certain, followed, from_labels, from_tokens
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.layout import Teaching
from outcrop.workflows.teachers import RemoteTeacher

FEWEST = 0.9
"""Share of a teacher's answers whose tokens must be understood: with fewer, its tokenizer is another one."""


class Ear:
    """Makes targets of what a remote teacher told of its answers' tokens, in the tokens of one renderer."""

    def __init__(
        self, teacher: RemoteTeacher, renderer: Renderer, labels: Sequence[str] | None, spec: DistillationSpec
    ) -> None:
        self._teacher, self._renderer, self._labels, self._spec = teacher, renderer, tuple(labels or ()), spec
        self._pieces = token_bytes(renderer.tokenizer)
        owners: dict[bytes, list[int]] = {}
        for number, piece in enumerate(self._pieces):
            owners.setdefault(piece or b"", []).append(number)
        self._numbers = {piece: held[0] for piece, held in owners.items() if piece and len(held) == 1}
        self._begun = cache(self._labels_with)
        self._known_ids: dict[str, dict[str, list[int]]] = {}

    def teachings(self, records: Sequence[Record], supervised: Sequence[Sequence[int]]) -> list[Teaching]:
        """The targets of every record; what was not told, or not understood, is learnt as it stands.

        supervised: the supervised tokens of each record, of which those of the last answer may have been told.
        """
        found = []
        for record, ids in zip(records, supervised, strict=True):
            heard = self.understood(record)
            own = len(ids) - len(heard.rest) if heard is not None else len(ids)
            if heard is None or list(ids[own:]) != self._renderer.answer(record, answer_text(record)):
                found.append(certain(ids))
            else:
                found.append(followed(certain(ids[:own]), heard) if own else heard)
        return found

    def is_told(self, record: Record) -> bool:
        """Whether this record's answer is what the teacher said, in this run, and it told more of it than its text."""
        reply = self._teacher.heard(record)
        return reply is not None and bool(reply.told) and reply.text.strip() == answer_text(record).strip()

    def understood(self, record: Record) -> Teaching | None:
        """What the teacher told of this record's answer; None where that is nothing, or in other tokens."""
        reply, text = self._teacher.heard(record), answer_text(record)
        if reply is None or not self.is_told(record):
            return None
        if self._labels:
            return from_labels(reply.told, text, self._label_ids(record), self._begun, self._spec)
        ids = self._renderer.answer(record, text)
        return from_tokens(reply.told, ids, self._pieces, self._numbers, self._spec)

    def _label_ids(self, record: Record) -> dict[str, list[int]]:
        """Every label as this record's answer, in tokens; these are the same for all records of a kind."""
        kind = "turns" if isinstance(record, Conversation) else "open"
        if isinstance(record, Pair):
            kind = "after space" if record.prompt[-1:].isspace() else "after text"
        known, text = self._known_ids.get(kind), answer_text(record)
        if known is None or known[text] != self._renderer.answer(record, text):
            known = {label: self._renderer.answer(record, label) for label in self._labels}
            self._known_ids[kind] = known
        return known

    def _labels_with(self, beginning: bytes) -> frozenset[str]:
        return frozenset(label for label in self._labels if label.encode().startswith(beginning))


class Listening(NamedTuple):
    """How a remote teacher is learnt from. ear: None where it is by answers alone, `why` then says why."""

    ear: Ear | None
    why: str
    sentence: str


def listen(
    teacher: RemoteTeacher, renderer: Renderer, records: Sequence[Record], labels: Sequence[str] | None,
    spec: DistillationSpec,
) -> Listening:  # fmt: skip
    """Decide by the answered training rows. renderer: of the student that is named first."""
    ear = Ear(teacher, renderer, labels, spec)
    told = [record for record in records if ear.is_told(record)]
    understood = sum(ear.understood(record) is not None for record in told)
    why = _unfit(spec)
    if not why and not told:
        why = teacher.silence or "the rows bring their own answers"
    if not why and understood < FEWEST * len(told):
        what = "name a label by their tokens" if labels else "consist of the student's tokens"
        why = f"only {understood:,} of {len(told):,} of its answers {what}"
    if why:
        return Listening(None, why, f"Students learn from the teacher's answers alone: {why}.")
    what = "its distribution over the labels" if labels else "the likeliest tokens at every place"
    return Listening(ear, "", f"The teacher told {what} for {understood:,} of {len(records):,} training rows.")


def _unfit(spec: DistillationSpec) -> str:
    """Why an objective cannot use what endpoints tell."""
    if spec.temperature != 1:
        return "endpoints tell log-probabilities of temperature 1 alone, and the objective has another"
    return "endpoints tell the likeliest tokens, not draws (signal=sampled)" if spec.signal == "sampled" else ""
