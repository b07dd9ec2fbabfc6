"""How a process of one engine takes its turns: a line of JSON in, a line out. Standard library only."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

Ids = list[list[int]]
CONTEXT = 512
"""Tokens that a row has room for: more than any turn needs."""


class Turn(NamedTuple):
    """Seconds of one batch, on the wall and of the processor: its prompts with the first tokens, and every step.

    first: the first token of each row, which tells whether all engines compute the same model.
    """

    prefill: tuple[float, float]
    steps: list[tuple[float, float]]
    first: list[int]


Side = Callable[[Ids, int], Turn]


def take_turns(version: str, side: Side) -> None:
    """Say ready, then answer {"prompts", "steps"} until the input ends. Whatever libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"version": version}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(side(asked["prompts"], asked["steps"])._asdict()), file=answers, flush=True)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall and of this process' processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor
