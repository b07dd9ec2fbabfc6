"""Whether a remote teacher's terms allow to train on its answers: asked once, remembered, in every student's card."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from outcrop.core import settings as environment
from outcrop.core.errors import UsageError
from outcrop.core.files import write_json
from outcrop.generation.remote import RemoteModel, is_remote

How = Literal["asked on a terminal", "accept_teacher_terms"]
FOLDER = "teacher-terms"
FLAG = "--accept-teacher-terms"


def teacher_name(teacher: str) -> str:
    """A remote teacher by provider, model and place: what its terms are accepted for. Raises UsageError for others."""
    model = RemoteModel.parse(teacher)
    return f"{model.provider}:{model.model}@{model.url}"


def question_of(teacher: str) -> str:
    """What is to be asked before this teacher answers anything; empty where nothing is: a local teacher, or one whose
    terms were accepted before. Raises UsageError for a name that is wrong."""
    if not is_remote(teacher) or accepted_terms(teacher) is not None:
        return ""
    return f"Terms of some providers forbid to train models on answers. Do those of {teacher_name(teacher)} allow it?"


def accept(teacher: str, how: How) -> dict[str, Any]:
    """Remember that a teacher's terms allow it; what was remembered first stays."""
    known = accepted_terms(teacher)
    if known is not None:
        return known
    said = {"teacher": teacher_name(teacher), "accepted": datetime.now(UTC).isoformat(timespec="seconds"), "how": how}
    _file(teacher).parent.mkdir(parents=True, exist_ok=True)
    write_json(_file(teacher), said)
    return said


def accepted_terms(teacher: str) -> dict[str, Any] | None:
    """What was said of a teacher's terms, or None."""
    file = _file(teacher)
    known: dict[str, Any] | None = json.loads(file.read_text("utf-8")) if file.is_file() else None
    return known


def settle_terms(teacher: str, *, accepts: bool) -> dict[str, Any]:
    """What a student's card says of a remote teacher's terms. Raises UsageError where nobody has accepted them yet."""
    known = accept(teacher, "accept_teacher_terms") if accepts else accepted_terms(teacher)
    if known is None:
        raise UsageError(
            f"Nobody has said yet whether the terms of {teacher_name(teacher)} allow to train a model on its answers.",
            f"Read them. If they do, say so with {FLAG}; it is remembered, and written into the student's card.",
        )
    return known


def answer(teacher: str, *, allowed: bool) -> None:
    """What a user said on a terminal. Raises UsageError for terms that do not allow it."""
    if not allowed:
        raise UsageError(
            f"The terms of {teacher_name(teacher)} do not allow it, so it was asked nothing.",
            "Take a teacher whose terms allow to train on its answers, for instance an open model.",
        )
    accept(teacher, "asked on a terminal")


def _file(teacher: str) -> Path:
    name = hashlib.sha256(teacher_name(teacher).encode()).hexdigest()[:32]
    return environment.home() / FOLDER / f"{name}.json"
