"""Where text goes: results to stdout, everything else to stderr; as text or as one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, Literal

from rich.console import Console

Output = Literal["text", "json"]

CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def result_console() -> Console:
    """Standard output. Made at each use, because tests and shells replace the stream."""
    return Console(highlight=False)


def message_console() -> Console:
    """Standard error, for progress, warnings and errors."""
    return Console(stderr=True, highlight=False)


def is_live(console: Console) -> bool:
    """Whether lines can be redrawn: a terminal that moves its cursor."""
    return console.is_terminal and not console.is_dumb_terminal


def is_attended() -> bool:
    """Whether a person can be asked: input and messages are a terminal's."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def print_json(value: Any) -> None:
    """One JSON object on stdout. NaN is refused, because other readers cannot read it."""
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(value, indent=2, ensure_ascii=plain, allow_nan=False, default=str))


def visible(text: str) -> str:
    """Text from data, with control characters spelled out so that it cannot steer the terminal."""
    return text.translate(CONTROL)


def spoken_lines() -> Iterator[str]:
    """What the user says, a line at a time and none of them empty, until the input ends."""
    console = message_console()
    while True:
        if sys.stdin.isatty():
            console.print("you › ", style="bold cyan", end="")
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.rstrip("\n")
