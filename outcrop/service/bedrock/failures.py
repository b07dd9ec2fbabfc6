"""The failureMessage of a job: what was wrong, every line of it, as far as Bedrock's length allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST = 2048
RESUME, AGAIN = "outcrop jobs resume", "Make the job again."
"""Jobs of the API are not resumed: what is told to whoever sees a job in the command is of no use here."""
FULL_REPORT = "All of them: validation_report.json in the output."


def failure_message(error: Mapping[str, Any]) -> str:
    """The account of a job's error in at most 2,048 characters; of bad data, the numbers of the lines come first."""
    report = error.get("report") or {}
    if report.get("problems"):
        return _lines(report)
    parts = (error.get("where", ""), error.get("message", ""), error.get("remedy", ""))
    where, message, remedy = (str(part).strip() for part in parts)
    remedy = AGAIN if RESUME in remedy else remedy
    return _cut(" ".join(filter(None, (f"{where}:" if where else "", message, remedy))) or "The job failed.", "")


def _lines(report: Mapping[str, Any]) -> str:
    sentences = [f"{report['errors']:,} errors in {report['rows_with_errors']:,} rows."]
    for group in report["problems"]:
        if group["severity"] != "error":
            continue
        first = group["examples"][0]["message"] if group["examples"] else ""
        for file, lines in group["lines"].items():
            numbers = ", ".join(str(line) for line in lines if line)
            place = f"{file} line {numbers}" if numbers else file
            sentences.append(f"{place}: {group['message']} ({first}). {group['remedy']}")
    return _cut(" ".join(sentences), FULL_REPORT)


def _cut(text: str, end: str) -> str:
    if len(text) <= LONGEST:
        return text
    end = f"… {end}".rstrip()
    return text[: LONGEST - len(end)] + end
