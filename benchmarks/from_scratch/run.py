"""AdamW and Muon from scratch: the loss after so many steps, each at several rates, on the same windows in one order.

    python benchmarks/from_scratch/run.py [--shape recipes/pebble/small.toml] [--steps 120] [--shared ../shared]

A step is 16 windows of 512 tokens. Results go to benchmarks/from_scratch/results.json and results.md.
"""

from __future__ import annotations

import argparse
import json
import lzma
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from outcrop.core.files import write_atomic, write_json
from outcrop.data.records import Text
from outcrop.models.rendering import Renderer
from outcrop.models.scratch import ShapeSpec, learn_tokenizer, new_model
from outcrop.training.batches import BatchPlan
from outcrop.training.engine import TrainingEngine
from outcrop.training.schedules import learning_rate
from outcrop.training.spec import TrainingSpec
from outcrop.training.tokens import TokenShard, Windows
from outcrop.workflows.evaluate import reproduction

HERE = Path(__file__).parent
TRIED = {"adamw": (1e-3, 3e-3, 1e-2), "muon": (3e-3, 1e-2, 2e-2)}
LAST = 20
"""Steps over which the loss is averaged at the end."""


def train(shape: ShapeSpec, tokenizer: Any, windows: Windows, optimizer: str, rate: float, steps: int) -> float:
    """Mean loss of the last steps, in nats per token."""
    spec = TrainingSpec(batch_size=16, optimizer=optimizer, learning_rate=rate, weight_decay=0.1, beta2=0.95)
    engine, plan = TrainingEngine(new_model(shape, tokenizer, 0), spec, torch.bfloat16), BatchPlan(len(windows), 16, 0)
    losses = []
    for step in range(steps):
        now = learning_rate(step, peak=rate, schedule="linear", warmup=steps // 20, total=steps)
        losses.append(engine.step([windows[row] for row in plan.step(step)], step, now).loss)
    return mean(losses[-LAST:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=Path, default=HERE.parents[1] / "recipes" / "pebble" / "small.toml")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    shape = ShapeSpec.from_file(given.shape)
    with lzma.open(given.shared / "data" / "corpora" / "general" / "books-00.jsonl.xz", "rt") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    tokenizer = learn_tokenizer(texts, shape)
    renderer, found = Renderer(tokenizer), []
    with tempfile.TemporaryDirectory() as folder:
        documents = (renderer.render(Text(text)).token_ids for text in texts)
        windows = Windows(TokenShard.write(Path(folder), documents, len(tokenizer)), 512)
        for optimizer, rates in TRIED.items():
            for rate in rates:
                start = time.process_time()
                loss = train(shape, tokenizer, windows, optimizer, rate, given.steps)
                seconds = (time.process_time() - start) / given.steps
                row = {"optimizer": optimizer, "rate": rate, "loss": loss, "processor_seconds_per_step": seconds}
                print(row, flush=True)
                found.append(row)
    facts = {"shape": shape.model_dump(), "steps": given.steps, "tokens_per_step": 8192}
    write_json(HERE / "results.json", {**facts, "found": found, "machine": dict(reproduction().machine)})
    rows = "".join(
        f"| {row['optimizer']} | {row['rate']:g} | {row['loss']:.3f} | {row['processor_seconds_per_step']:.2f} |\n"
        for row in found
    )
    head = f"| optimizer | peak rate | nats per token, mean of the last {LAST} steps | processor seconds per step |\n"
    write_atomic(
        HERE / "results.md",
        f"# From scratch\n\nWritten by run.py: {given.steps} steps of 8,192 tokens, shape {given.shape.name}.\n\n"
        f"{head}| --- | --- | --- | --- |\n{rows}",
    )


if __name__ == "__main__":
    main()
