"""Our side, as a process of its own: `outcrop.prepare` on the rows.

    python ours.py ROWS.jsonl FOLDER WORKERS STEPS

Prints one JSON object: seconds, the numbers of the rows that were kept, peak memory of the main process and of the
largest worker in GB (with one worker all is done in the main process), rows by part.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import outcrop

PATTERNS = ["email", "phone", "card", "iban", "ip", "mac", "url-credentials", "crypto"]
SETTINGS: dict[str, dict[str, Any]] = {"dedupe": {"on": "prompt"}, "anonymise": {"types": PATTERNS}}


def main() -> None:
    """Run it."""
    rows, folder, workers, steps = sys.argv[1:]
    began = time.perf_counter()
    settings = {name: values for name, values in SETTINGS.items() if name in steps.split(",")}
    result = outcrop.prepare(
        rows, f"{folder}/out", steps=steps.split(","), settings=settings, workers=int(workers), overwrite=True,
        report=steps != "dedupe",  # the peers write none
    )  # fmt: skip
    seconds = time.perf_counter() - began
    dropped = set()
    with (result.folder / "dropped.jsonl").open(encoding="utf-8") as file:
        for line in file:
            dropped.add(json.loads(line)["line"] - 1)
    count = result.account["steps"]["read"]["rows"]
    split = result.account["steps"].get("split", {}).get("figures", {}).get("counts")
    usages = [resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    kept = [number for number in range(count) if number not in dropped]
    print(json.dumps({"seconds": seconds, "kept": kept, "main_gb": usages[0], "worker_gb": usages[1], "parts": split}))


if __name__ == "__main__":
    main()
