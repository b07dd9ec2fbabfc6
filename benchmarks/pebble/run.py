"""What the bundled models can do: text beside an n-gram model, families of tasks, a cold start.

    python benchmarks/pebble/run.py text tasks cold [--made out-pebble] [--large MODEL] [--small MODEL] [--together N]

`--made` is the folder in which recipes/pebble/make.sh worked: its held-back rows are measured here. Tuning on Banking77
and CLINC150 is measured by benchmarks/quality/run.py. Results go to benchmarks/pebble/results/NAME.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from kneser_ney import KneserNey

import outcrop
from outcrop.core import settings
from outcrop.core.files import write_json
from outcrop.data.records import Text
from outcrop.evaluation.comparison import estimate
from outcrop.evaluation.metrics.bits_per_byte import METRIC as BITS_PER_BYTE
from outcrop.evaluation.metrics.catalog import METRICS
from outcrop.evaluation.metrics.metric import Example
from outcrop.models.loading import LoadedModel, load_model
from outcrop.training.scoring import score_rows
from outcrop.training.tokens import by_document
from outcrop.training.trunk import Trunk
from outcrop.workflows.evaluate import reproduction

RESULTS = Path(__file__).parent / "results"
PROMPTS = (
    "Once upon a time there was a little girl who", "The old captain looked at the sea and", '"I am sorry," he said,',
    "It was a cold morning in November when", "The house stood at the end of the street,", "She opened the letter and",
    "In the middle of the forest", "The two brothers had not spoken", "Nobody in the village knew why",
    "When the war was over,",
)  # fmt: skip


def texts(path: Path) -> list[str]:
    """The documents of a file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def ids_of(loaded: LoadedModel, documents: Sequence[str]) -> list[np.ndarray[Any, Any]]:
    """Token ids of whole documents."""
    return [np.array(loaded.renderer.render(Text(text)).token_ids, np.int32) for text in documents]


def bits(documents: Sequence[str], nats: Sequence[float]) -> dict[str, Any]:
    """Bits per byte with its interval over documents."""
    examples = [
        Example("", (text,), "", logprob=-value, tokens=1, utf8_bytes=len(text.encode()))
        for text, value in zip(documents, nats, strict=True)
    ]
    return asdict(estimate(BITS_PER_BYTE, examples))


def text(made: Path, models: dict[str, str]) -> dict[str, Any]:
    """Bits per byte of the held-back documents: n-grams, each model, and a new model of the same shape."""
    held, found = texts(made / "corpus" / "held-back.jsonl.gz"), {}
    for name, path in models.items():
        loaded = load_model(path)
        documents = ids_of(loaded, held)
        scores = score_rows(Trunk(loaded.model), by_document(documents, 512), 4096)
        found[name] = bits(held, [score.nats for score in scores])
        print(name, found[name], flush=True)
        written = greedy(loaded) if name.endswith("-l") else {}
        found |= {f"{name}, greedy": written} if written else {}
    grams = KneserNey(ids_of(loaded, texts(made / "corpus" / "train.jsonl.gz")), len(loaded.tokenizer))
    found["5-gram Kneser-Ney"] = bits(held, [grams.nats(document) for document in documents])
    return found


def greedy(loaded: LoadedModel) -> dict[str, str]:
    """Continuations of PROMPTS."""
    return {prompt: outcrop.generate(str(loaded.folder.path), prompt, max_new_tokens=40).text for prompt in PROMPTS}


SHORT = 130
"""Characters of a family's answers on average, at most: of longer ones neither exact match nor token F1 says much."""


def tasks(made: Path, models: dict[str, str], together: int) -> dict[str, Any]:
    """Families of short answers on held-back rows: zero-shot, 4 and 8 worked examples, and the commonest answer."""
    paths = [
        path
        for path in sorted((made / "instructions" / "held-back").glob("*.jsonl.gz"))
        if np.mean([len(answer) for answer in answers(path)]) <= SHORT
    ]
    with ProcessPoolExecutor(together, get_context("spawn")) as pool:
        found = list(pool.map(partial(family, model=models["pebble-l"]), paths))
    return {path.name.removesuffix(".jsonl.gz"): scores for path, scores in zip(paths, found, strict=True)}


def family(path: Path, model: str) -> dict[str, Any]:
    """Scores of one family by name of system."""
    examples = path.parents[1] / "examples" / path.name
    with tempfile.TemporaryDirectory() as folder:
        result = outcrop.evaluate(
            [model], [str(path)], f"{folder}/report", metrics=("exact_match", "squad_f1"), shots=(0, 4, 8),
            shots_from=[str(examples)],
        )  # fmt: skip
    systems = {
        f"pebble-l, {shots}-shot": {name: asdict(value) for name, value in system.metrics.items()}
        for shots, system in zip((0, 4, 8), result.systems, strict=True)
    }
    systems["commonest answer"] = commonest(examples, path)
    print(path.name, json.dumps(systems), flush=True)
    return systems


def answers(path: Path) -> list[str]:
    """The answers of a file of pairs."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["completion"] for line in lines]


def commonest(examples: Path, asked: Path) -> dict[str, Any]:
    """Always the commonest answer of the trained rows."""
    answer = Counter(answers(examples)).most_common(1)[0][0]
    rows = [Example("", (right,), answer) for right in answers(asked)]
    return {name: asdict(estimate(METRICS.load(name), rows)) for name in ("exact_match", "squad_f1")}


def cold(made: Path, models: dict[str, str]) -> dict[str, Any]:
    """Seconds from the command to the answer to one prompt, each time a new process."""
    seconds: dict[str, Any] = {}
    for name, model in models.items():
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            outcrop_command = str(Path(sys.executable).with_name("outcrop"))
            command = [outcrop_command, "generate", "--model", model, "--prompt", "The old house"]
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
            taken.append(time.perf_counter() - start)
        seconds[name] = {"median": median(taken), "all": taken}
    return seconds


PARTS = ("text", "tasks", "cold")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--made", type=Path, default=Path("out-pebble"))
    parser.add_argument("--large", default="bundled:pebble-l")
    parser.add_argument("--small", default="bundled:pebble-s")
    parser.add_argument("--together", type=int, default=1, help="families measured at the same time")
    parser.add_argument("--to", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(settings.threads())
    models = {"pebble-s": given.small, "pebble-l": given.large}
    work = {"text": text, "tasks": partial(tasks, together=given.together), "cold": cold}
    given.to.mkdir(parents=True, exist_ok=True)
    for part in given.parts:
        found = work[part](given.made, models)
        facts = {"machine": dict(reproduction().machine), "versions": dict(reproduction().versions)}
        write_json(given.to / f"{part}.json", {"part": part, "found": found, **facts})
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
