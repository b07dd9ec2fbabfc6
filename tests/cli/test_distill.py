"""`outcrop distill` asks a person about a remote teacher's terms, once, and nobody where nobody is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from outcrop.core.errors import UsageError
from outcrop.workflows import teacher_terms

COMMAND = ("distill", "--teacher", "openai:gpt@https://host/v1", "--student", "s", "--data", "p.jsonl", "--to", "out")


@pytest.fixture
def ask(command: Any, answer: Any, monkeypatch: pytest.MonkeyPatch, outcrop_home: Path) -> Any:
    """Run the command with a person at the terminal who types this."""

    def asked(typed: str, *more: str, attended: bool = True) -> Any:
        monkeypatch.setattr("outcrop.cli.distill.is_attended", lambda: attended)
        command.provide("distill", lambda **_: answer({"made": "out"}))
        command.module.terms_question, command.module.answer_terms = teacher_terms.question_of, teacher_terms.answer
        return command(*COMMAND, *more, stdin=typed)

    return asked


def test_a_person_is_asked_once(ask: Any, command: Any) -> None:
    first = ask("y\n")
    assert first.exit_code == 0, first.output
    assert "Do those of openai:gpt@https://host/v1 allow it?" in first.stderr
    assert "allow it" not in ask("").output
    assert [name for name, _ in command.calls] == ["distill", "distill"]


def test_a_no_ends_it_before_any_work(ask: Any, command: Any) -> None:
    done = ask("n\n")
    assert done.exit_code == 2
    assert "so it was asked nothing" in done.stderr
    assert command.calls == []


@pytest.mark.parametrize("more", [("--accept-teacher-terms",), ("--output", "json")])
def test_programs_are_not_asked(ask: Any, command: Any, more: tuple[str, ...]) -> None:
    assert "allow it" not in ask("", *more).output
    assert len(command.calls) == 1


def test_nobody_there_is_nobody_asked(ask: Any) -> None:
    assert "allow it" not in ask("", attended=False).output
    with pytest.raises(UsageError):
        teacher_terms.settle_terms(COMMAND[2], accepts=False)
