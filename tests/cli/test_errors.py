"""Errors in data, shown by kind with their first places."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from outcrop.cli.errors import render
from outcrop.core.errors import DataError, UsageError
from outcrop.data.problems import Problems
from outcrop.data.records import Origin


def text(error: Exception, width: int = 120) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(render(error))
    return file.getvalue()


@pytest.fixture
def error() -> DataError:
    problems = Problems()
    for line in range(10, 19):
        problems.add("missing-field", Origin("rows.jsonl", line), "no completion", field="completion")
    problems.add("empty-file", Origin("none.jsonl", 0), "0 rows")
    problems.add("bom", Origin("rows.jsonl", 1), "starts with a byte order mark")
    with pytest.raises(DataError) as caught:
        problems.raise_errors()
    return caught.value


def test_problems_are_grouped_with_counts_and_first_lines(error: DataError) -> None:
    shown = text(error)
    lines = shown.splitlines()
    assert lines[0] == "error: 10 errors of 2 kinds in the data:"
    assert "missing-field × 9" in shown
    assert [line for line in lines if "rows.jsonl:" in line][:2] == [
        "    rows.jsonl:10  completion: no completion", "    rows.jsonl:11  completion: no completion",
    ]  # fmt: skip
    assert "… and 4 more" in shown
    assert "none.jsonl  0 rows" in shown
    assert "1 warning" in shown
    assert "bom" not in shown


def test_each_kind_has_its_remedy(error: DataError) -> None:
    assert text(error).count("→") == 2


def test_the_command_prints_them_and_ends_with_2(command, error: DataError) -> None:
    def refuse(**_):
        raise error

    command.provide("tune", refuse)
    args = ("tune", "--base", "m", "--data", "rows.jsonl", "--to", "out")
    done = command(*args)
    assert done.exit_code == 2
    assert "missing-field × 9" in done.stderr
    found = json.loads(command(*args, "--output", "json").stdout)["error"]
    assert found["code"] == "data"
    assert found["report"]["problems"][0]["examples"][0]["line"] == 10


def test_messages_from_data_cannot_steer_the_terminal() -> None:
    shown = text(UsageError("bad \x1b[2J name [bold]x[/bold]", "do \x07 this", "a\x1bb"))
    assert "\x1b" not in shown
    assert "[bold]x[/bold]" in shown
    assert "\\x07" in shown


def test_long_messages_are_one_line_where_there_is_no_terminal(command) -> None:
    message = "word " * 60

    def refuse(**_):
        raise UsageError(message.strip())

    command.provide("demo", refuse)
    assert f"error: {message.strip()}" in command("demo").stderr.splitlines()
