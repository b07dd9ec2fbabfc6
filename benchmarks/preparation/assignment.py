"""How long 100,000 rows with 60,000 groups take to be split, stratified: the draw alone, and all that a split does.

python benchmarks/preparation/assignment.py [ROUNDS]

All is: hashes and signatures of the texts, near-duplicates, the draw, the exact proof, and the digests of the parts.
Rows are held in memory; medians of the rounds.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from outcrop.data.assignment import Shares, assign
from outcrop.data.draw import SplitSpec
from outcrop.data.records import Origin, Pair, Record
from outcrop.data.split import split

ROWS, GROUPS, LABELS = 100_000, 60_000, 77


def records() -> list[Record]:
    """Rows of 6 to 14 made-up words."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnoprstuvwy", k=draw.randint(3, 9))) for _ in range(5000)]
    return [
        Pair(
            " ".join(draw.choices(words, k=draw.randint(6, 14))),
            f"label {draw.randrange(LABELS)}",
            Origin("rows.jsonl", row + 1),
            {"group": row if row < GROUPS else draw.randrange(GROUPS)},
        )
        for row in range(ROWS)
    ]


def processor_seconds(work: Callable[[], object], rounds: int) -> float:
    """The median of some rounds."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return round(statistics.median(found), 2)


def main() -> None:
    """Measure, print, and keep the result."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    rows = records()
    labels = np.array([int(row.completion.split()[1]) for row in rows if isinstance(row, Pair)])
    groups = np.array([row.fields["group"] for row in rows])
    certificate = split(rows, SplitSpec(group_by="group")).certificate
    result = {
        "rows": ROWS,
        "groups": certificate["groups"]["count"],
        "labels": LABELS,
        "draw_processor_seconds": processor_seconds(
            lambda: assign(labels, groups, np.arange(ROWS), Shares(), seed=0), rounds
        ),
        "split_processor_seconds": processor_seconds(lambda: split(rows, SplitSpec(group_by="group")), rounds),
        "rounds": rounds,
        "load": round(os.getloadavg()[0], 1),
        "rows_of_parts": certificate["counts"],
        "pairs_across_parts": certificate["proof"]["pairs_across_parts"],
    }
    text = json.dumps(result, indent=2)
    (Path(__file__).parent / "results" / "assignment.json").write_text(f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
