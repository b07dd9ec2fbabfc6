"""Quality on real data within a time limit: what issue-sized tasks reach on this machine, each from one command.

    python benchmarks/quality/run.py banking77 clinc150 aws-docs [--shared ../shared] [--base MODEL] [--random]
                                     [--set NAME=VALUE …] [--keep FOLDER]

Rows are split off the training files by near-duplicate-free groups (10 % validation, 10 % sealed test, seed 0); the
time that counts is that of the whole tuning command, which `tuning_minutes` says.
--random starts from random weights of the base model's shape; --keep keeps data and models, as teachers of
benchmarks/distillation/run.py, which splits the same way. Results go to benchmarks/quality/results/NAME-BASE.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

import outcrop
from outcrop.core import settings as environment
from outcrop.core.files import write_json
from outcrop.data.mapping import Mapping
from outcrop.data.reading import load
from outcrop.data.split import split, write_split
from outcrop.models.loading import load_model
from outcrop.models.saving import save_card, save_weights
from outcrop.workflows.evaluate import reproduction

RESULTS = Path(__file__).parent / "results"
TEMPLATE = "Message: {prompt}\\nIntent:"


Settings = dict[str, Any]
Benchmark = Callable[[Path, Path, str, Settings], Settings]


def intents(name: str, defaults: Settings) -> Benchmark:
    """A benchmark that tunes a base model to name intents."""

    def run(shared: Path, folder: Path, base: str, given: Settings) -> Settings:
        settings = defaults | given
        mapping = Mapping.from_text("prompt=text,completion=label", TEMPLATE)
        rows = load([shared / "data" / "intents" / name / "train.jsonl.gz"], mapping)
        write_split(split(rows), folder / "data")
        start, model = time.perf_counter(), str(folder / "model")
        result = outcrop.tune(
            base, [str(folder / "data" / "train.jsonl")], model, validation=[str(folder / "data" / "validation.jsonl")],
            settings=settings, listener=show,
        )  # fmt: skip
        tuning_minutes = (time.perf_counter() - start) / 60
        tested = outcrop.evaluate([model], [str(folder / "data")], str(folder / "evaluation"), listener=show)
        systems = {"tuned": {metric: asdict(value) for metric, value in tested.systems[0].metrics.items()}}
        return {
            "training_minutes": result.minutes, "tuning_minutes": tuning_minutes,
            "command_minutes": (time.perf_counter() - start) / 60,
            "estimated_minutes": result.estimated_minutes, "steps": result.steps, "best_step": result.best_step,
            "peak_memory_gb": result.peak_memory_gb, "validation_exact_match": result.metric_value, "systems": systems,
            "settings": settings, "labels": len(tested.labels or ()), "threads": environment.threads(),
        }  # fmt: skip

    return run


def aws_docs(shared: Path, folder: Path, base: str, given: Settings) -> Settings:
    """Continued pre-training on documentation, and what it does to general text."""
    corpora = shared / "data" / "corpora"
    settings = {"max_minutes": 3.5, "batch_size": 32, "learning_rate": 2e-3} | given
    start = time.perf_counter()
    result = outcrop.pretrain(
        base, [str(path) for path in sorted((corpora / "aws-docs").glob("*.xz"))], str(folder / "model"),
        general=[str(corpora / "general" / "stories-00.jsonl.xz")],
        columns="text=text", settings=settings, listener=show,
    )  # fmt: skip
    return {**result.as_dict(), "command_minutes": (time.perf_counter() - start) / 60, "settings": settings}


BENCHMARKS = {
    "banking77": intents("banking77", {"epochs": 14, "batch_size": 32, "max_minutes": 4.7}),
    "clinc150": intents("clinc150", {"epochs": 14, "batch_size": 32, "max_minutes": 4.7}),
    "aws-docs": aws_docs,
}


def random_model(base: str, folder: Path) -> str:
    """A model of the base's shape and tokenizer with random weights, and where it lies."""
    loaded = load_model(base)
    torch.manual_seed(0)
    loaded = replace(loaded, model=AutoModelForCausalLM.from_config(loaded.model.config))
    folder.mkdir()
    save_weights(loaded, {}, folder, torch.float32)
    save_card(folder, loaded, {"kind": "pretrained"})
    return str(folder)


def show(event: dict[str, Any]) -> None:
    """Evaluations, stages and the end, one line each."""
    if event["event"] not in ("step", "resolved", "progress"):
        print(json.dumps(event), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=list(BENCHMARKS))
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--base", default="", help="default: the small model under --shared")
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--keep", type=Path, help="an empty folder; default: nothing is kept")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    base = options.base or str(options.shared / "models" / "stories260K")
    label = base.replace("bundled:", "random-" if options.random else "bundled:") if ":" in base else Path(base).name
    for name in options.names:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.keep / name if options.keep else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            start = random_model(base, folder / "random") if options.random else base
            found = BENCHMARKS[name](options.shared, folder, start, dict(word.split("=") for word in options.set))
        RESULTS.mkdir(exist_ok=True)
        write_json(RESULTS / f"{name}-{label.replace(':', '-')}.json", {
            "benchmark": name, "base": label, **found, "machine": dict(reproduction().machine),
            "versions": dict(reproduction().versions),
        })  # fmt: skip
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
