"""Errors as a user sees them: what is wrong, where, and what to do; never a traceback, unless the fault is ours."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from outcrop.cli.console import Output, message_console, print_json, visible
from outcrop.core.errors import OutcropError

EXAMPLES = 5
INTERRUPTED, TERMINATED = 130, 143
"""The exit codes of a command ended by Ctrl-C and by SIGTERM: 128 and the signal's number."""


def report(error: OutcropError, output: Output) -> int:
    """Show an error: to people on stderr, to programs as {"error": …} on stdout. Returns the exit code."""
    if output == "json":
        print_json({"error": error.as_dict()})
    else:
        console = message_console()
        console.print(render(error), soft_wrap=not console.is_terminal)
    return error.exit_code


def report_interruption(kept: str, output: Output, *, terminated: bool = False) -> int:
    """Say that Ctrl-C or SIGTERM ended the command, and what it kept. Returns the exit code."""
    message = f"{'Terminated' if terminated else 'Interrupted'}. {kept}".strip()
    if output == "json":
        print_json({"error": {"code": "terminated" if terminated else "interrupted", "message": message}})
    console = message_console()
    console.print(Text(message, "yellow"), soft_wrap=not console.is_terminal)
    return TERMINATED if terminated else INTERRUPTED


def report_bug(error: Exception, output: Output) -> int:
    """Show the traceback of an error that should not exist, and ask for a report. Returns the exit code."""
    if output == "json":
        print_json({"error": {"code": "bug", "message": f"{type(error).__name__}: {error}"}})
    traceback.print_exception(error, file=sys.stderr)
    message_console().print(
        Text("This is a fault of Outcrop. Please report it: the lines above and the command.", "red")
    )
    return 1


def render(error: OutcropError) -> RenderableType:
    """The word, the message, the problems found in data, the place, the remedy."""
    problems = _problems(error)
    message = error.message.partition("\n")[0] if problems else error.message
    parts: list[RenderableType] = [Text.assemble(("error", "bold red"), ": ", (visible(message), "bold"))]
    for group in problems:
        if group["severity"] == "error":
            parts += [Text(), *(Text.assemble("  ", line) for line in _problem(group))]
    warnings = sum(group["count"] for group in problems if group["severity"] == "warning")
    if warnings:
        count = "1 warning" if warnings == 1 else f"{warnings:,} warnings"
        parts.append(Text(f"\nAnd {count}: outcrop data check shows them all."))
    if error.where:
        parts.append(Text.assemble(("  where ", "dim"), visible(error.where)))
    if error.remedy:
        parts.append(Text.assemble(("  → ", "green"), visible(error.remedy)))
    return Group(*parts)


def _problems(error: OutcropError) -> list[Mapping[str, Any]]:
    """The groups of problems that a DataError carries, as data/problems.py makes them."""
    found: Mapping[str, Any] = getattr(error, "report", None) or {}
    return list(found.get("problems", ()))


def _problem(group: Mapping[str, Any]) -> Iterator[Text]:
    """One kind of problem: code, count, meaning, first places, remedy."""
    yield Text.assemble((group["code"], "bold red"), f" × {group['count']:,}  ", visible(group["message"]))
    yield from _places(group)
    yield Text.assemble(("  → ", "green"), visible(group["remedy"]))


def _places(group: Mapping[str, Any]) -> Iterator[Text]:
    shown = group["examples"][:EXAMPLES]
    for example in shown:
        place = f"{example['file']}:{example['line']}" if example["line"] else example["file"]
        field = f"{example['field']}: " if example["field"] else ""
        yield Text.assemble(("  " + visible(place), "cyan"), "  ", visible(f"{field}{example['message']}"))
    if group["count"] > len(shown):
        yield Text(f"  … and {group['count'] - len(shown):,} more", "dim")
