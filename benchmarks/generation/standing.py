"""Where the embedded engine stands beside OpenVINO GenAI and llama.cpp, in bf16 on one thread, in turns (A/B/C/A/B/C).

    taskset -c 0 python -m benchmarks.generation.standing [--openvino-python PYTHON] [--llama-python PYTHON]

The others live in environments of their own, and where one is not named it is left out, which the result says:

    pip install openvino-genai==2026.4.1 optimum-intel==2.2.0 transformers==5.5.4 "huggingface-hub<1.22"
    pip install llama-cpp-python==0.3.36 gguf==0.19.0 numpy

optimum-intel fails where a torchvision for another torch is beside it: remove that. All get the same fresh prompts of
128 token ids, and choose the likeliest token. Writes standing.json and standing.md here, where models that were not
measured this time stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from benchmarks.generation.shapes import make
from outcrop.core.files import write_atomic, write_json
from outcrop.workflows.evaluate import reproduction
from tests.support.tiny import VOCABULARY, tiny_tokenizer

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RESULTS = HERE / "standing.json"
PROMPT = 128
STEPS = {1: 32, 8: 16, 32: 8}
"""Decoding steps of a turn, by rows."""
OURS = "Outcrop"
CLOCKS = ("wall", "processor")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OUTCROP_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


class Side(NamedTuple):
    """An engine: its module in sides/, the Python that has it, and what it reads of a model, "" for our own folder."""

    name: str
    module: str
    python: str
    file: str = ""
    options: tuple[str, ...] = ()

    def command(self, *arguments: str) -> list[str]:
        """The process of its module."""
        return [self.python, "-m", f"benchmarks.generation.sides.{self.module}", *arguments]

    def missing(self) -> str:
        """Why it cannot take part, or ""."""
        if not self.python:
            return "no Python environment was named"
        return "" if shutil.which(self.python) else f"there is no program {self.python}"


class Process:
    """An engine with a model, waiting for its turns."""

    def __init__(self, side: Side, folder: Path, words: Path) -> None:
        """Raises RuntimeError with its last words where it does not start."""
        self._words, environment = words, os.environ | ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
        with words.open("w") as errors:
            if side.file and not (folder / side.file).exists():
                export = side.command(str(folder / side.file), "--export", str(folder))
                done = subprocess.run(export, check=False, env=environment, stderr=errors, stdout=errors)
                if done.returncode:
                    raise self._failed()
            self._process = subprocess.Popen(
                side.command(str(folder / side.file), *side.options),
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        self.version = self._read()["version"]

    def turn(self, prompts: list[list[int]], steps: int) -> dict[str, Any]:
        """One turn, as turns.Turn has it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"prompts": prompts, "steps": steps}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failed()
        found: dict[str, Any] = json.loads(line)
        return found

    def _failed(self) -> RuntimeError:
        words = self._words.read_text(errors="replace").strip().splitlines() or ["it ended without a word"]
        return RuntimeError(words[-1][:300])


def start(sides: Sequence[Side], folder: Path, stack: ExitStack) -> tuple[dict[str, Process], dict[str, str]]:
    """The processes of all that can take part, and why the others do not."""
    running, skipped = {}, {}
    for side in sides:
        reason = side.missing()
        if not reason:
            try:
                running[side.name] = Process(side, folder, folder / f"{side.name}.log")
                stack.callback(running[side.name].close)
            except RuntimeError as error:
                reason = str(error)
        if reason:
            skipped[side.name] = reason
            print(f"{side.name} is left out: {reason}", flush=True)
    return running, skipped


def compare(shape: str, running: Mapping[str, Process], turns: int) -> list[dict[str, Any]]:
    """Decode and prefill of all sides at every number of rows; the first turn warms up."""
    stream, found = random.Random(0), []
    for rows, steps in STEPS.items():
        done: dict[str, list[dict[str, Any]]] = {name: [] for name in running}
        for turn in range(turns + 1):
            prompts = [[stream.randrange(10, VOCABULARY) for _ in range(PROMPT)] for _ in range(rows)]
            for name, process in running.items():
                result = process.turn(prompts, steps if turn else 3)
                done[name] += [result] if turn else []
        record = {
            "model": shape, "rows": rows, "load": round(os.getloadavg()[0], 1),
            "sides": {name: summarise(done, name, rows) for name in running},
        }  # fmt: skip
        print(json.dumps(record), flush=True)
        found.append(record)
    return found


def summarise(done: Mapping[str, Sequence[Mapping[str, Any]]], name: str, rows: int) -> dict[str, Any]:
    """Medians on both clocks. same_first: the share of rows whose first token is the one that we choose."""
    turns = done[name]
    pairs = [
        pair for mine, theirs in zip(done[OURS], turns, strict=True)
        for pair in zip(mine["first"], theirs["first"], strict=True)
    ]  # fmt: skip
    record: dict[str, Any] = {"same_first": round(sum(mine == theirs for mine, theirs in pairs) / len(pairs), 3)}
    for number, clock in enumerate(CLOCKS):
        record[clock] = {
            "decode_tokens_per_s": rows / median(step[number] for turn in turns for step in turn["steps"]),
            "prefill_tokens_per_s": rows * PROMPT / median(turn["prefill"][number] for turn in turns),
        }
    return record


def kept(measured: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> list[dict[str, Any]]:
    """Records of other models from the last time, if it had the same versions of the same engines."""
    if not RESULTS.exists() or (before := json.loads(RESULTS.read_text()))["versions"] != versions:
        return []
    models = {record["model"] for record in measured}
    return [record for record in before["generation"] if record["model"] not in models]


def table(found: Mapping[str, Any]) -> str:
    """The results as a page."""
    names, loads = list(found["versions"]), [record["load"] for record in found["generation"]]
    lines = [
        "# Standing of the embedded engine",
        "",
        f"bf16, one thread, a load of {min(loads)} to {max(loads)}. Tokens/s by medians on the wall clock; in brackets",
        "our time over theirs on the wall clock, and of processor time: more than 1 means that they are faster.",
    ]
    for kind in ("decode", "prefill"):
        lines += ["", f"| {kind} | rows | {' | '.join(names)} |", "| --- " * (2 + len(names)) + "|"]
        for record in found["generation"]:
            cells = [_cell(record["sides"], name, f"{kind}_tokens_per_s") for name in names]
            lines.append(f"| {record['model']} | {record['rows']} | {' | '.join(cells)} |")
    lines += ["", *(f"- {name}: {version}{_agreement(found, name)}." for name, version in found["versions"].items())]
    lines += [f"- {name} was left out: {reason}." for name, reason in found["skipped"].items()]
    return "\n".join([*lines, "", f"Machine: {found['machine']}.", ""])


def _cell(sides: Mapping[str, Any], name: str, rate: str) -> str:
    rates = f"{sides[name]['wall'][rate]:,.0f}"
    ratios = [f"{sides[name][clock][rate] / sides[OURS][clock][rate]:.2f}" for clock in CLOCKS]
    return rates if name == OURS else f"{rates} ({', '.join(ratios)})"


def _agreement(found: Mapping[str, Any], name: str) -> str:
    """Whether others compute the same model. Weights are random, so that likeliest tokens are near each other."""
    if name == OURS:
        return ""
    shares = [record["sides"][name]["same_first"] for record in found["generation"]]
    return f"; {sum(shares) / len(shares):.0%} of its first tokens are those that we choose"


def main() -> None:
    """Run everything and write standing.json and standing.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openvino-python", default="", help="of an environment with openvino-genai, optimum-intel")
    parser.add_argument("--llama-python", default="", help="of an environment with llama-cpp-python and gguf")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--models", default="m30,m135")
    given = parser.parse_args()
    sides = [
        Side(OURS, "ours", sys.executable),
        Side("OpenVINO GenAI", "openvino_genai", given.openvino_python, "openvino"),
        Side("OpenVINO GenAI, bf16 cache", "openvino_genai", given.openvino_python, "openvino", ("bf16",)),
        Side("llama.cpp", "llama_cpp", given.llama_python, "model.gguf"),
    ]
    generation, versions, skipped = [], {}, {}
    for shape in given.models.split(","):
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            make(shape, torch.bfloat16).save_pretrained(name)
            tiny_tokenizer().save_pretrained(name)
            running, skipped = start(sides, Path(name), stack)
            versions = {name: process.version for name, process in running.items()}
            generation += compare(shape, running, given.turns)
    found = {
        "generation": kept(generation, versions) + generation, "versions": versions, "skipped": skipped,
        "turns": given.turns, "machine": {**dict(reproduction().machine), "threads": "1"},
    }  # fmt: skip
    write_json(RESULTS, found)
    write_atomic(HERE / "standing.md", table(found))
    print(table(found))


if __name__ == "__main__":
    main()
