"""How work was asked for, so that it can be asked for again."""

from __future__ import annotations

import shlex

import pytest

from outcrop.core.invocation import command_line, repeatable, running


@repeatable
def inner(data: list[str], *, listener: object = None) -> str:
    return running()


@repeatable
def outer(to: str, *, shots: int = 0) -> str:
    return inner(["x"])


def test_a_call_from_python_is_written_as_python_without_what_cannot_be_written() -> None:
    assert inner(["a b"], listener=print) == "outcrop.inner(data=['a b'])"
    assert outer("out", shots=3) == "outcrop.outer(to='out', shots=3)"
    assert running() == ""


def test_a_command_line_is_quoted_and_wins_over_the_calls_in_it() -> None:
    words = ["outcrop", "tune", "--template", "Message: {prompt}\\nIntent:"]
    with command_line(words):
        assert shlex.split(outer("out")) == words
    assert running() == ""


def test_a_call_that_fails_is_forgotten() -> None:
    @repeatable
    def failing() -> None:
        raise ValueError(running())

    with pytest.raises(ValueError, match="failing"):
        failing()
    assert running() == ""
