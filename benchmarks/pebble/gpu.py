"""How fast the training loop is on a GPU, and which share of what its matrix units give that is.

    python benchmarks/pebble/gpu.py recipes/pebble/large.toml recipes/pebble/small.toml --tokenizer out-pebble/tokenizer

The rate counts tokens through forward, backward and update; the share is 6 · parameters · rate (Kaplan et al. 2020,
§2.1) over a matrix product in bf16 measured in the same run. Tokens are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from outcrop.core.files import write_json
from outcrop.models.scratch import ShapeSpec, new_model
from outcrop.training.batches import Example
from outcrop.training.engine import TrainingEngine
from outcrop.training.layout import Segment
from outcrop.training.spec import TrainingSpec

RESULTS = Path(__file__).parent / "results"
WINDOW, BATCH = 512, 128
STEPS, WARM_UP = 20, 8


def matrix_peak(size: int = 8192) -> float:
    """FLOP/s of a square bf16 product of random numbers: the median of 10."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = [timed(lambda: a @ b) for _ in range(13)][3:]
    return 2 * size**3 / median(seconds)


def timed(work: Callable[[], object]) -> float:
    """Seconds of work on the GPU and before it."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def windows(count: int, vocabulary: int) -> list[Example]:
    """Windows of random tokens, most of one document, the others of four."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        cuts = [0, WINDOW] if number % 4 else [0, 100, 130, 400, WINDOW]
        ids = rng.integers(0, vocabulary, WINDOW, dtype=np.int32)
        made.append(tuple(Segment(ids[a:b], np.ones(b - a, np.float32)) for a, b in pairwise(cuts)))
    return made


def measure(shape: ShapeSpec, tokenizer: Any, *, compiled: bool) -> dict[str, Any]:
    """Rate of whole steps, and the seconds of each part of one."""
    model = new_model(shape, tokenizer, 0)
    spec = TrainingSpec.parse(
        {"optimizer": "muon", "learning_rate": 1e-3, "warmup_steps": 0, "micro_batch_tokens": WINDOW * BATCH}
    )
    engine = TrainingEngine(model.cuda().eval(), spec, torch.bfloat16)
    if compiled:
        for layer in engine.trunk.decoder.layers:
            layer.forward = torch.compile(layer.forward, dynamic=True)
    rows = windows(4 * BATCH, shape.vocabulary)
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    ready = [engine.prepare(batches[0])]

    def step(number: int) -> None:
        following = batches[(number + 1) % len(batches)]
        engine.step(ready.pop(), number, 1e-4, meanwhile=lambda: ready.append(engine.prepare(following)))

    seconds = [timed(partial(step, number)) for number in range(STEPS + WARM_UP)][WARM_UP:]
    parts = {
        "prepare": timed(lambda: engine.prepare(batches[1])),
        "gradient": timed(lambda: engine.gradient(batches[1], 0)),
        "update": timed(lambda: engine.optimizer.step(1e-4)),
    }
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "tokens_per_s": BATCH * WINDOW / median(seconds), "parts_s": parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", type=Path, nargs="+")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--to", type=Path, default=RESULTS)
    parser.add_argument("--compiled", action="store_true", help="measure compiled layers, too")
    given = parser.parse_args()
    peak = matrix_peak()
    found: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "matrix_flops": peak}
    tokenizer = AutoTokenizer.from_pretrained(given.tokenizer, local_files_only=True)
    given.to.mkdir(parents=True, exist_ok=True)
    for path in given.shapes:
        for compiled in (False, True) if given.compiled else (False,):
            name = f"{path.stem}, compiled" if compiled else path.stem
            made = measure(ShapeSpec.from_file(path), tokenizer, compiled=compiled)
            made["share_of_peak"] = 6 * made["parameters"] * made["tokens_per_s"] / peak
            found[name] = made
            write_json(given.to / "gpu.json", found)
            print(name, json.dumps(made), flush=True)


if __name__ == "__main__":
    main()
