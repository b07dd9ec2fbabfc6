"""Terms of remote teachers: asked once for each, remembered with how and when, refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from outcrop.core.errors import UsageError
from outcrop.workflows.recorded import submit
from outcrop.workflows.teacher_terms import accepted_terms, answer, question_of, settle_terms

TEACHER = "openai:gpt-x@https://host/v1"


def test_a_person_is_asked_once(outcrop_home: Path) -> None:
    assert "forbid to train" in question_of(TEACHER)
    answer(TEACHER, allowed=True)
    assert question_of(TEACHER) == ""
    assert question_of(TEACHER + "/") == ""
    said = settle_terms(TEACHER, accepts=False)
    assert (said["teacher"], said["how"]) == (TEACHER, "asked on a terminal")
    assert said["accepted"].startswith("2")
    assert settle_terms(TEACHER, accepts=True) == said  # what was said first stays


@pytest.mark.parametrize("other", ["openai:gpt-y@https://host/v1", "openai:gpt-x@https://else/v1", "bedrock:gpt-x"])
def test_each_model_has_terms_of_its_own(other: str) -> None:
    settle_terms(TEACHER, accepts=True)
    assert accepted_terms(other) is None
    assert question_of(other)
    with pytest.raises(UsageError, match="--accept-teacher-terms"):
        settle_terms(other, accepts=False)


def test_a_no_is_not_remembered_and_ends_the_work() -> None:
    with pytest.raises(UsageError, match="do not allow it, so it was asked nothing"):
        answer(TEACHER, allowed=False)
    assert question_of(TEACHER)


def test_local_teachers_have_licences_in_their_cards() -> None:
    assert question_of("bundled:pebble-s") == question_of("./folder") == ""


def test_a_job_is_not_queued_before_the_terms_are_accepted(tmp_path: Path) -> None:
    arguments = {"teacher": TEACHER, "to": str(tmp_path / "out"), "accept_teacher_terms": False}
    with pytest.raises(UsageError, match="--accept-teacher-terms"):
        submit("distill", arguments)
