"""De-duplication beside datatrove and a datasketch LSH on the same rows in one run: speed and planted copies found.

    python benchmarks/preparation/run.py --peers-python PYTHON [--rows 40000] [--workers 2] [--rounds 3]
    python benchmarks/preparation/run.py --scale 1000000

The peers have an environment of their own (pip install datatrove datasketch 'xxhash<3.6' regex spacy tokenizers).
--sides outcrop,datatrove takes these alone, on the same rows; every round runs each side once, and the median of a
side counts. The second form prepares a million rows with the given steps and reports time and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from make_rows import write  # noqa: E402

RESULTS = HERE / "results"


def run(command: list[str]) -> dict[str, Any]:
    """One side as a process: its last line of output, and the processor time of it and its workers."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return dict(json.loads(done.stdout.splitlines()[-1])) | {"processor_seconds": spent}


def measured(found: dict[str, Any], rows: int, planted: dict[int, tuple[int, str]]) -> dict[str, Any]:
    """Speed by the clock and by processor time, planted copies found by edit, and the precision of what was dropped."""
    kept = set(found.pop("kept"))
    # A copy counts as found where it or its original went; datatrove keeps any one row of a cluster.
    together = [(number, original, edit) for number, (original, edit) in planted.items()]
    hits = Counter(edit for number, original, edit in together if number not in kept or original not in kept)
    totals = Counter(edit for *_, edit in together)
    involved = {row for number, original, _ in together for row in (number, original)}
    dropped = [row for row in range(rows) if row not in kept]
    wrong = sum(row not in involved for row in dropped)
    return {
        "seconds": round(found["seconds"], 1),
        "rows_per_second": round(rows / found["seconds"]),
        "processor_seconds": round(found["processor_seconds"], 1),
        "rows_per_processor_second": round(rows / found["processor_seconds"]),
        "recall": {edit: round(hits[edit] / totals[edit], 4) for edit in totals},
        "recall_all": round(hits.total() / totals.total(), 4),
        "precision": round(1 - wrong / max(1, len(dropped)), 4),
    }


def compare(rows: int, workers: int, python: str, chosen: tuple[str, ...], rounds: int) -> dict[str, Any]:
    """The chosen sides on the same rows, one after the other, round by round."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "rows.jsonl"
        planted = write(data, rows)
        sides: dict[str, list[str]] = {
            f"outcrop, {count} worker{'s' * (count > 1)}": [
                sys.executable, str(HERE / "ours.py"), "", "", str(count), "dedupe",
            ]
            for count in sorted({workers, 1}, reverse=True)
        }  # fmt: skip
        for side, count in (("datasketch", 1), ("datatrove", workers)):
            for n_grams in (1, 5):
                name = f"{side}, {'single words' if n_grams == 1 else '5 words'}, {count} worker{'s' * (count > 1)}"
                sides[name] = [python, str(HERE / "peers.py"), side, "", "", str(count), str(n_grams)]
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in sides if name.startswith(chosen)}
        for number, name in product(range(rounds), results):
            folder = Path(scratch) / f"{number} {name}"
            folder.mkdir()
            places = iter((str(data), str(folder)))
            results[name].append(measured(run([part or next(places) for part in sides[name]]), rows, planted))
            print(name, json.dumps(results[name][-1]), flush=True)
            shutil.rmtree(folder)
    return {name: of_rounds(found) for name, found in results.items()}


def of_rounds(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The round with the median of processor time, and that of all rounds."""
    ordered = sorted(found, key=lambda each: float(each["processor_seconds"]))
    return {**ordered[(len(ordered) - 1) // 2], "rounds": [each["processor_seconds"] for each in found]}


def scale(rows: int, workers: int, steps: str) -> dict[str, Any]:
    """Time and peak memory of a large preparation."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "rows.jsonl"
        planted = write(data, rows)
        found = run([sys.executable, str(HERE / "ours.py"), str(data), scratch, str(workers), steps])
        memory = {name: round(found[name], 2) for name in ("main_gb", "worker_gb")}
        memory["parts"] = found["parts"]
        return {"rows": rows, "megabytes": data.stat().st_size >> 20, "steps": steps, **memory,
                **measured(found, rows, planted)}  # fmt: skip


def processor() -> str:
    """The name of the processor."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(": ")[2] if names else platform.machine()


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", default="")
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sides", default="outcrop,datasketch,datatrove")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scale", type=int, default=0)
    parser.add_argument("--steps", default="clean,dedupe,anonymise,split")
    parser.add_argument("--note", default="", help="what else the machine did, kept with the result")
    parser.add_argument("--to", type=Path, default=RESULTS)
    given = parser.parse_args()
    machine = {
        "processors": os.cpu_count(),
        "used": len(os.sched_getaffinity(0)),
        "machine": processor(),
        "load_before": round(os.getloadavg()[0], 1),
        "note": given.note,
    }
    if given.scale:
        name, result = "scale.json", scale(given.scale, given.workers, given.steps)
    else:
        name, result = "beside.json", compare(
            given.rows, given.workers, given.peers_python or sys.executable, tuple(given.sides.split(",")),
            given.rounds,
        )  # fmt: skip
    given.to.mkdir(exist_ok=True)
    machine["load_after"] = round(os.getloadavg()[0], 1)
    (given.to / name).write_text(
        json.dumps({**machine, "rows": given.scale or given.rows, "result": result}, indent=2) + "\n"
    )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
