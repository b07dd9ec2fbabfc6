"""Our side, as a process of its own: `outcrop.prepare` on the rows.

    python ours.py ROWS.jsonl FOLDER WORKERS STEPS

Prints one JSON object: seconds, the numbers of the rows that were kept, peak memory of the largest process in GB.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import outcrop


def main() -> None:
    """Run it."""
    rows, folder, workers, steps = sys.argv[1:]
    began = time.perf_counter()
    prompt_only = {"dedupe": {"on": "prompt"}} if "dedupe" in steps else {}
    result = outcrop.prepare(
        rows, f"{folder}/out", steps=steps.split(","), settings=prompt_only, workers=int(workers), overwrite=True,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    dropped = set()
    with (result.folder / "dropped.jsonl").open(encoding="utf-8") as file:
        for line in file:
            dropped.add(json.loads(line)["line"] - 1)
    count = result.account["steps"]["read"]["rows"]
    usages = [resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    kept = [number for number in range(count) if number not in dropped]
    print(json.dumps({"seconds": seconds, "kept": kept, "main_gb": usages[0], "worker_gb": usages[1]}))


if __name__ == "__main__":
    main()
