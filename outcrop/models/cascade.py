"""A cascade: a teacher's folder with a student inside, and how sure the student must be to answer. No torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import model_validator

from outcrop.core.errors import ModelError
from outcrop.core.files import write_json
from outcrop.core.spec import Spec, parameter
from outcrop.models.folder import CASCADE, STUDENT, ModelFolder

SUREST = 1e-7
"""Probabilities are kept so far from 0 and 1: single precision tells no finer."""


class Rule(Spec):
    """When the student answers: confidence = σ(slope · logit(probability) + offset), at least the threshold."""

    threshold: float = parameter(1.0, "confidence from which on the student answers; 0: always, 1: never", ge=0, le=1)
    slope: float = parameter(1.0, "of the calibration", gt=0, source="Platt 1999")
    offset: float = parameter(0.0, "of the calibration", source="Platt 1999")

    @staticmethod
    def logit(probability: float) -> float:
        """log(p / (1 − p)), finite."""
        kept = min(max(probability, SUREST), 1 - SUREST)
        return math.log(kept / (1 - kept))

    def confidence(self, probability: float) -> float:
        """How likely an answer is right that the student gives this probability."""
        return 1 / (1 + math.exp(-(self.slope * self.logit(probability) + self.offset)))

    def trusts(self, probability: float) -> bool:
        """Whether the student's answer is given."""
        return self.threshold < 1 and (self.threshold == 0 or self.confidence(probability) >= self.threshold)


class CascadeSpec(Spec):
    """What cascade.json says. answers: of text that the student decodes, by its mean token log-probability; choices: of
    a choice among `labels`, by the likeliest one's share."""

    student: str = parameter("", "digest of the student's folder")
    labels: tuple[str, ...] = parameter((), "the closed set of answers, if there is one")
    answers: Rule = parameter(Rule(), "for answers that are written token by token")
    choices: Rule | None = parameter(None, "for choices among the labels")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if bool(self.labels) != (self.choices is not None):
            raise ValueError("labels and choices go together")
        return self


def read_cascade(folder: ModelFolder) -> CascadeSpec | None:
    """The rule of a cascade's folder; None for another model. Raises ModelError where the student is not that one."""
    student = folder.student
    if student is None:
        return None
    spec = CascadeSpec.parse({k: v for k, v in folder.read(CASCADE).items() if k != "schema"}, where=folder.name)
    if student.digest() != spec.student:
        raise ModelError("The student inside is not the one that the cascade was set for.", "Restore it.", folder.name)
    return spec


def write_cascade(folder: Path, spec: CascadeSpec) -> None:
    """Write cascade.json."""
    write_json(folder / CASCADE, {"schema": 1, **spec.model_dump(mode="json")})


def refuse_cascade(folder: ModelFolder, what: str) -> None:
    """Raise ModelError for a cascade, where one model is needed."""
    if folder.student is not None:
        raise ModelError(
            f"The folder is a cascade of two models, {what} takes one.",
            f"Give its student, {folder.path / STUDENT}, or the teacher that it was made from.", folder.name,
        )  # fmt: skip


class TokenMap(NamedTuple):
    """The tokens of a teacher and of a student that has some of them. to_student: for each of the teacher's ids the
    student's, several for a token that the student's was merged from; to_teacher: the other way."""

    to_student: dict[int, tuple[int, ...]]
    to_teacher: dict[int, int]

    @classmethod
    def of(cls, teacher: Any, student: Any) -> TokenMap:
        """Compare two tokenizers. Raises ModelError where the student has tokens that the teacher lacks."""
        theirs, own = teacher.get_vocab(), student.get_vocab()
        strange = sorted(own.keys() - theirs.keys())
        if strange:
            raise ModelError(
                f"The student has tokens that its teacher lacks: {', '.join(map(repr, strange[:3]))}.",
                "A cascade needs a student with the teacher's tokenizer, or one that was cut from it.",
            )
        model = json.loads(teacher.backend_tokenizer.to_str())["model"]
        parts = {"".join(pair): pair for pair in reversed([_pair(merge) for merge in model.get("merges") or []])}

        def pieces(name: str) -> tuple[int, ...]:
            if name in own:
                return (own[name],)
            return tuple(token for part in parts[name] for token in pieces(part)) if name in parts else ()

        found = {token: pieces(name) for name, token in theirs.items()}
        return cls({token: ids for token, ids in found.items() if ids}, {own[name]: theirs[name] for name in own})

    def students(self, ids: tuple[int, ...]) -> tuple[int, ...] | None:
        """The same text in the student's tokens; None where it has none for a part of it."""
        if any(token not in self.to_student for token in ids):
            return None
        return tuple(own for token in ids for own in self.to_student[token])


def _pair(merge: Any) -> tuple[str, ...]:
    return tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ", 1))
