"""What students learn from a remote teacher beyond its answers: decided by what its endpoint tells, and said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from outcrop.core.completions import ToldToken
from outcrop.data.records import Conversation, Pair, Record, answer_text
from outcrop.models.rendering import Renderer
from outcrop.models.token_bytes import token_bytes
from outcrop.training.distillation.likeliest import certain, followed, from_labels, from_tokens
from outcrop.training.distillation.spec import DistillationSpec
from outcrop.training.layout import Teaching
from outcrop.workflows.teachers import RemoteTeacher

FEWEST = 0.9
"""Share of a teacher's answers whose tokens must be understood: with fewer, its tokenizer is another one."""


class Heard(NamedTuple):
    """Of an answer: whether its tokens were told, and what that says in the student's tokens, None where nothing."""

    is_told: bool
    teaching: Teaching | None


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
        self._known: dict[tuple[str, str], Heard] = {}
        self._known_ids: dict[str, dict[str, list[int]]] = {}

    def teachings(self, records: Sequence[Record], supervised: Sequence[Sequence[int]]) -> list[Teaching]:
        """The targets of every record; what was not told, or not understood, is learnt as it stands.

        supervised: the supervised tokens of each record, of which those of the last answer may have been told.
        """
        found = []
        for record, ids in zip(records, supervised, strict=True):
            said = self.hear(record).teaching
            own = len(ids) - len(said.rest) if said is not None else len(ids)
            if said is None or list(ids[own:]) != self._renderer.answer(record, answer_text(record)):
                found.append(certain(ids))
            else:
                found.append(followed(certain(ids[:own]), said) if own else said)
        return found

    def hear(self, record: Record) -> Heard:
        """What the teacher told of this record's answer, if that is what it said in this run."""
        text = answer_text(record)
        key = (self._teacher.prompt_key(record), text)
        if key not in self._known:
            reply = self._teacher.heard(record)
            is_told = reply is not None and bool(reply.told) and reply.text.strip() == text.strip()
            said = self._understood(record, reply.told) if reply is not None and is_told else None
            self._known[key] = Heard(is_told, said)
        return self._known[key]

    def _understood(self, record: Record, told: Sequence[ToldToken]) -> Teaching | None:
        text = answer_text(record)
        if self._labels:
            return from_labels(told, text, self._label_ids(record), self._begun, self._spec)
        return from_tokens(told, self._renderer.answer(record, text), self._pieces, self._numbers, self._spec)

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
    heard = [ear.hear(record) for record in records]
    told = sum(each.is_told for each in heard)
    understood = sum(each.teaching is not None for each in heard)
    why = _unfit(spec)
    if not why and not told:
        why = teacher.silence or "the rows bring their own answers"
    if not why and understood < FEWEST * told:
        what = "name a label by their tokens" if labels else "consist of the student's tokens"
        why = f"only {understood:,} of {told:,} of its answers {what}"
    if why:
        return Listening(None, why, f"Students learn from the teacher's answers alone: {why}.")
    what = "its distribution over the labels" if labels else "the likeliest tokens at every place"
    return Listening(ear, "", f"The teacher told {what} for {understood:,} of {len(records):,} training rows.")


def _unfit(spec: DistillationSpec) -> str:
    """Why an objective cannot use what endpoints tell."""
    if spec.temperature != 1:
        return "endpoints tell log-probabilities of temperature 1 alone, and the objective has another"
    return "endpoints tell the likeliest tokens, not draws (signal=sampled)" if spec.signal == "sampled" else ""
