"""The failureMessage of a job: within Bedrock's length, in words that its reader can use."""

from __future__ import annotations

from typing import Any

import pytest

from outcrop.service.bedrock.failures import AGAIN, FULL_REPORT, LONGEST, failure_message


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"where": "a.jsonl:3", "message": "Empty text.", "remedy": "Give it."}, "a.jsonl:3: Empty text. Give it."),
        ({"message": "Gone.", "remedy": "Go on from its last checkpoint: outcrop jobs resume abc"}, f"Gone. {AGAIN}"),
        ({}, "The job failed."),
    ],
)
def test_where_what_and_what_to_do(error: dict[str, Any], said: str) -> None:
    assert failure_message(error) == said


def test_lines_come_first_and_the_rest_is_in_the_report() -> None:
    example = {"message": "no answer"}
    group = {
        "severity": "error", "examples": [example], "lines": {"s3://a/b.jsonl": list(range(1, 2000))},
        "message": "empty", "remedy": "Give it.",
    }  # fmt: skip
    said = failure_message({"report": {"errors": 1999, "rows_with_errors": 1999, "problems": [group]}})
    assert said.startswith("1,999 errors in 1,999 rows. s3://a/b.jsonl line 1, 2, 3")
    assert len(said) == LONGEST
    assert said.endswith(FULL_REPORT)
