"""Training speed, memory and loss curves of Outcrop and TRL on the same rows, one after the other, in one run.

    python benchmarks/training_speed/run.py --trl-python /path/to/trl-environment/bin/python [--shared ../shared]

Every repetition runs each side once, in turn, so that a machine that drifts drifts under all of them. What is compared
is the median time of a step after WARM_UP steps; a step is 16 rows on every side, whatever it makes of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from outcrop.core import settings
from outcrop.core.files import write_atomic, write_json
from outcrop.models.precision import matmul_rate
from outcrop.training.layout import Segment, lay_out
from outcrop.workflows.evaluate import reproduction

HERE = Path(__file__).parent
STEPS, ROWS, WARM_UP = 25, 16, 5
RATE = 1e-3
OURS = {"batch_size": ROWS, "epochs": 1, "learning_rate": RATE, "warmup_steps": 0, "weight_decay": 0.01, "beta2": 0.99}
THEIRS = {"learning_rate": RATE, "warmup_steps": 0, "weight_decay": 0.01, "adam_beta2": 0.99, "max_grad_norm": 1.0}
COLUMNS = {
    "full": ("default", "tuned", "plain-loss", "by-length-4-plain-loss"),
    "lora": ("tuned", "plain-loss"),
}
"""TRL's defaults, the same tuned for this machine within its arguments, and the fastest ways that were found by also
exchanging its loss and sorting each step's rows by length."""


def prepare(folder: Path, shared: Path) -> None:
    """Model, adapter and rows, made once."""
    data = shared / "data"
    if not (folder / "start" / "model").exists():
        books = str(data / "corpora" / "general" / "books-00.jsonl.xz")
        run_python("make_model.py", "--texts", books, "--to", str(folder / "start"))
    rows = str(data / "intents" / "banking77" / "train.jsonl.gz")
    run_python("make_rows.py", "--model", str(folder / "start" / "model"), "--data", rows,
               "--rows", str(STEPS * ROWS), "--to", str(folder / "rows.jsonl"))  # fmt: skip


def run_python(script: str, *words: str, python: str = sys.executable) -> None:
    """Run a script of this folder; its messages are shown only if it fails."""
    done = subprocess.run([python, str(HERE / script), *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{script} {' '.join(words)}\n{done.stderr[-3000:]}")


def ours(folder: Path, method: str) -> dict[str, Any]:
    """One run of our side."""
    result = folder / "ours.json"
    run_python("outcrop_side.py", "--model", str(folder / "start" / "model"), "--rows", str(folder / "rows.jsonl"),
               "--settings", json.dumps(OURS | {"method": method}), "--to", str(result))  # fmt: skip
    return json.loads(result.read_text())


def theirs(folder: Path, method: str, column: str, python: str) -> dict[str, Any]:
    """One run of TRL's side."""
    result = folder / "theirs.json"
    adapter = str(folder / "start" / "adapter") if method == "lora" else ""
    run_python("trl_side.py", "--model", str(folder / "start" / "model"), "--rows", str(folder / "rows.jsonl"),
               "--adapter", adapter, "--settings", json.dumps(THEIRS), "--column", column,
               "--threads", str(settings.threads()), "--to", str(result), python=python)  # fmt: skip
    return json.loads(result.read_text())


def computed_flops(folder: Path, method: str) -> float:
    """Multiply-adds of our median step, times two: rows after the shared prefix through the blocks, supervised rows
    through the head; forward and both backward products (with LoRA one: frozen weights get no gradient). Attention and
    the adapters, under 5 %, are left out."""
    config = json.loads((folder / "start" / "model" / "config.json").read_text())
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    block = width * (2 * width + 2 * keys + 3 * inner) * layers
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    segments = [Segment(np.array(r["input_ids"]), np.array(r["completion_mask"], np.float32)) for r in rows]
    products = 3 if method == "full" else 2
    totals = []
    for start in range(0, len(segments), ROWS):
        layout = lay_out(segments[start : start + ROWS])
        head = width * config["vocab_size"] * len(layout.targets)
        totals.append(2 * products * (block * len(layout.ids) + head))
    return median(totals)


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over repetitions of a side."""
    rates = [ROWS / median(run["seconds"][WARM_UP:]) for run in runs]
    return {
        "examples_per_s": median(rates), "examples_per_s_of_runs": rates, "losses": runs[0]["losses"],
        "peak_memory_gb": max(run["peak_memory_bytes"] for run in runs) / 1e9, "versions": runs[0]["versions"],
        "total_seconds": median(run["total_seconds"] for run in runs),
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """The results as a Markdown page."""
    lines = ["# Training speed beside TRL", "", "Written by run.py; what it means is in README.md.", ""]
    machine = ", ".join(f"{name}: {value}" for name, value in found["machine"].items())
    lines += [f"Machine: {machine}. bf16 matrix peak: {found['peak_gflops']:.0f} GFLOP/s.", ""]
    lines += ["| method | side | examples/s | ours is | peak memory, GB | first loss | last loss |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for method, sides in found["methods"].items():
        rate = sides["outcrop"]["examples_per_s"]
        for name, side in sides.items():
            lines.append(
                f"| {method} | {name} | {side['examples_per_s']:.1f} | {rate / side['examples_per_s']:.2f}× | "
                f"{side['peak_memory_gb']:.2f} | {side['losses'][0]:.3f} | {side['losses'][-1]:.3f} |"
            )
    lines += [""] + [f"Share of the matrix peak, {m}: {share:.0%}." for m, share in found["share_of_peak"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run everything and write results.json and results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", required=True)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--folder", type=Path, default=Path("runs/training-speed"))
    parser.add_argument("--repetitions", type=int, default=2)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(settings.threads())
    torch.set_num_threads(settings.threads())
    given.folder.mkdir(parents=True, exist_ok=True)
    prepare(given.folder, given.shared)
    peaks, methods = [], {}
    for method, columns in COLUMNS.items():
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ("outcrop", *columns)}
        for _ in range(given.repetitions):
            peaks.append(matmul_rate(2048, 2048, 2048, torch.bfloat16, torch.device("cpu"), budget_s=1.0))
            runs["outcrop"].append(ours(given.folder, method))
            for column in columns:
                runs[column].append(theirs(given.folder, method, column, given.trl_python))
            for name, done in runs.items():
                print(method, name, f"{ROWS / median(done[-1]['seconds'][WARM_UP:]):.1f} examples/s", flush=True)
        methods[method] = {name: summarise(found) for name, found in runs.items()}
    shares = {
        method: computed_flops(given.folder, method) * sides["outcrop"]["examples_per_s"] / ROWS / max(peaks) / 1e9
        for method, sides in methods.items()
    }
    found = {"methods": methods, "peak_gflops": max(peaks), "share_of_peak": shares,
             "machine": dict(reproduction().machine), "steps": STEPS, "rows_per_step": ROWS}  # fmt: skip
    write_json(HERE / "results.json", found)
    write_atomic(HERE / "results.md", table(found))
    print(table(found))


if __name__ == "__main__":
    main()
