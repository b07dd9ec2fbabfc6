"""How long 100,000 rows with 60,000 groups and 77 labels take to be shared out, without reading and comparing them.

python benchmarks/preparation/assignment.py
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np

from outcrop.data.assignment import Shares, assign

ROWS, GROUPS, LABELS = 100_000, 60_000, 77


def main() -> None:
    """Measure, print, and keep the result."""
    draw = np.random.default_rng(0)
    labels, groups = draw.integers(LABELS, size=ROWS), draw.integers(GROUPS, size=ROWS)
    clock, processor = time.perf_counter(), time.process_time()
    parts = assign(labels, groups, np.arange(ROWS), Shares(), seed=0)
    result = {
        "rows": ROWS,
        "groups": GROUPS,
        "labels": LABELS,
        "processor_seconds": round(time.process_time() - processor, 2),
        "seconds": round(time.perf_counter() - clock, 2),
        "load": round(os.getloadavg()[0], 1),
        "rows_of_parts": np.bincount(parts).tolist(),
    }
    text = json.dumps(result, indent=2)
    (Path(__file__).parent / "results" / "assignment.json").write_text(f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
