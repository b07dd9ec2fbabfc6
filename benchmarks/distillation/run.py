"""The bars of distillation on real data: a teacher, prompts without answers, and what the best student keeps and wins.

    python benchmarks/distillation/run.py banking77 clinc150 --teacher MODEL [--shared ../shared] [--set NAME=VALUE …]
                                          [--objective NAME=VALUE …] [--limit ROWS] [--tune SETTINGS]

Rows are split off the training file by near-duplicate-free groups (10 % validation, 10 % sealed test, seed 0). The
teacher is asked for the training rows' answers; their own train the student that is compared with. --tune makes the
teacher first, from the model given, on the training rows: `--tune epochs=12`. Results go to results/NAME-TEACHER.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import outcrop
from outcrop.core.files import write_json
from outcrop.data.mapping import Mapping
from outcrop.data.reading import load
from outcrop.data.split import split, write_split
from outcrop.workflows.evaluate import reproduction

RESULTS = Path(__file__).parent / "results"
INTENT = "Message: {prompt}\\nIntent:"
TASKS = {
    "banking77": ("intents/banking77/train.jsonl.gz", "prompt=text,completion=label", INTENT),
    "clinc150": ("intents/clinc150/train.jsonl.gz", "prompt=text,completion=label", INTENT),
}


def run(name: str, teacher: str, options: argparse.Namespace) -> dict[str, Any]:
    """One task: split, tune the teacher if asked to, distill."""
    place, columns, template = TASKS[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = load([options.shared / "data" / place], Mapping.from_text(columns, template))[: options.limit]
        write_split(split(rows), folder / "data")
        if options.tune:
            parts = [str(folder / "data" / f"{part}.jsonl") for part in ("train", "validation")]
            settings = pairs(options.tune)
            outcrop.tune(
                teacher, parts[:1], str(folder / "teacher"), validation=parts[1:], settings=settings, listener=show
            )
            teacher = str(folder / "teacher")
        start = time.perf_counter()
        result = outcrop.distill(
            teacher, [str(folder / "data")], str(folder / "student"), relabel=True, within=options.within,
            faster=options.faster, settings=pairs(options.set), objective=pairs(options.objective), listener=show,
        )  # fmt: skip
        minutes = (time.perf_counter() - start) / 60
    scores = {
        system.name: {metric: value.as_dict() for metric, value in system.metrics.items()}
        for system in result.evaluation.systems
    }
    return {
        "benchmark": name, "minutes": minutes, "verdict": result.verdict, "target_met": result.target_met,
        "facts": result.facts.as_dict(), "scores": scores, "notes": result.notes,
    }  # fmt: skip


def pairs(words: list[str]) -> dict[str, str]:
    """NAME=VALUE words as a table."""
    return dict(word.split("=", 1) for word in words)


def show(event: dict[str, Any]) -> None:
    """Stages, evaluations, warnings and the end, one line each."""
    if event["event"] not in ("step", "resolved", "progress"):
        print(json.dumps(event), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=list(TASKS))
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--within", type=float, default=2.0)
    parser.add_argument("--faster", type=float, default=5.0)
    parser.add_argument("--limit", type=int)
    for flag in ("--set", "--objective", "--tune"):
        parser.add_argument(flag, nargs="*", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for name in options.names:
        found = run(name, options.teacher, options)
        label = options.teacher.replace(":", "-") if ":" in options.teacher else Path(options.teacher).name
        write_json(RESULTS / f"{name}-{label}.json", {
            **found, "teacher": options.teacher, "limit": options.limit, "machine": dict(reproduction().machine),
            "versions": dict(reproduction().versions),
        })  # fmt: skip
        print(found["verdict"])


if __name__ == "__main__":
    main()
