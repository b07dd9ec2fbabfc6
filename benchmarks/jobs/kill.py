"""Ten queued jobs, thirty random kill -9 of controller, runner or trainer: do they end as undisturbed ones?

    python -m benchmarks.jobs.kill [--jobs 10] [--kills 30] [--pause-s 15] [--database URL]

Every job continues the pre-training of a tiny random model with a checkpoint at each step. At the end the weights and
the journal of each are compared, byte by byte, with those of the same run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import outcrop
from outcrop.core.files import write_json
from outcrop.jobs.controller import ControllerSpec
from outcrop.jobs.queue import JobRequest
from outcrop.jobs.runners.local import RunnerSpec
from outcrop.workflows.evaluate import reproduction
from tests.support.killing import Killer
from tests.support.tiny import tiny_model, tiny_tokenizer

COMPARED = ("model.safetensors", "run/journal.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--pause-s", type=float, default=15.0, help="mean time between kills")
    parser.add_argument("--database", default="", help="URL; default a new SQLite file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["OUTCROP_HOME"] = f"{scratch}/home"
        found = measure(Path(scratch), given)
    write_json(Path(__file__).parent / "results.json", found)
    print(json.dumps(found, indent=2))
    if found["differing"] or found["states"] != {"succeeded": given.jobs}:
        raise SystemExit("Not every job ended as an undisturbed one.")


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run, kill, compare; returns the account."""
    rows = ({"input": f"the card number {n} and the money {n * n} " * 6} for n in range(40))
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny_model().save_pretrained(folder / "base")
    tiny_tokenizer().save_pretrained(folder / "base")
    requests = [
        JobRequest("pretrain", arguments(folder, f"killed-{seed}", seed), f"killed-{seed}", str(folder))
        for seed in range(given.jobs)
    ]
    database = given.database or f"sqlite:///{folder / 'jobs.db'}"
    spec = ControllerSpec(database=database, poll_s=0.2, cpu_slots=2, gpu_slots=0, runner=RunnerSpec(lease_s=10))
    with Killer(spec, len(requests)) as killer:
        start = time.monotonic()
        submitted = [killer.queue.submit(request) for request in requests]
        killer.run(given.kills, given.pause_s, print)
        seconds = time.monotonic() - start
        jobs = [killer.queue.get(job_id) for job_id in submitted]
        doubled = sum(
            [event.number for event in killer.queue.events(job.id)] != list(range(1, job.event_count + 1))
            for job in jobs
        )
    return {
        "jobs": given.jobs, "kills": dict(killer.killed), "attempts": [job.attempt for job in jobs],
        "states": Counter(job.state for job in jobs), "jobs_with_events_lost_or_doubled": doubled,
        "differing": differing(folder, given.jobs), "minutes": seconds / 60, "database": database.partition(":")[0],
        "machine": asdict(reproduction()),
    }  # fmt: skip


def arguments(folder: Path, name: str, seed: int) -> dict[str, Any]:
    """Of the pre-training of one job."""
    settings = {"epochs": 10, "batch_size": 4, "precision": "float32", "checkpoint_minutes": 0, "seed": seed}
    base, data = str(folder / "base"), [str(folder / "texts.jsonl")]
    return {"base": base, "data": data, "to": str(folder / name), "settings": settings}


def differing(folder: Path, jobs: int) -> list[str]:
    """The files of killed jobs that are not those of the same run, undisturbed."""
    found = []
    for seed in range(jobs):
        outcrop.pretrain(**arguments(folder, f"whole-{seed}", seed))
        for file in COMPARED:
            killed = folder / f"killed-{seed}" / file
            if not killed.exists() or killed.read_bytes() != (folder / f"whole-{seed}" / file).read_bytes():
                found.append(f"killed-{seed}/{file}")
    return found


if __name__ == "__main__":
    main()
