"""A batch job beside a plain script with transformers' generate, in turns (A/B/A/B), and again from the cache.

    python -m benchmarks.batch.run [--rows 100] [--turns 2] [--model m30] [--threads 1]

Rows are chats with one system message of about 500 tokens; 30 % of them ask what another row asks. The script is what
one writes without Outcrop: rows in order, left-padded batches, greedy. Both sides load the model and write a file.
Two clocks: seconds on the wall, and of processor time, which a shared machine disturbs less. Writes results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import outcrop
from benchmarks.generation.shapes import make
from outcrop.core.files import write_json
from outcrop.models.folder import find_model
from outcrop.workflows.evaluate import reproduction

HERE = Path(__file__).parent
SYSTEM_TOKENS, NEW_TOKENS, DUPLICATES, SCRIPT_BATCH = 500, 32, 0.3, 16


class Clock(NamedTuple):
    """Seconds on both clocks."""

    wall: float
    processor: float


def timed(work: Callable[[], Any]) -> tuple[Clock, Any]:
    """What a call takes and returns."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return Clock(time.perf_counter() - wall, time.process_time() - processor), result


def write_model(folder: Path, shape: str) -> None:
    """Random weights of a measured shape, with the tokenizer of the bundled model."""
    make(shape, torch.float32).save_pretrained(folder)
    bundled = find_model("bundled:pebble-s").path
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (bundled / name).exists():
            shutil.copy(bundled / name, folder / name)


def write_rows(path: Path, tokenizer: Any, count: int) -> None:
    """Chats: one long system message, questions of 15 to 40 words, some of them asked again."""
    chosen = random.Random(0)
    words = [word for word in Path(__file__).read_text("utf-8").split() if word.isalpha()]
    system: list[str] = []
    while len(tokenizer(" ".join(system)).input_ids) < SYSTEM_TOKENS:
        system.append(chosen.choice(words))
    distinct = round(count * (1 - DUPLICATES))
    questions = [" ".join(chosen.choices(words, k=chosen.randint(15, 40))) for _ in range(distinct)]
    questions += chosen.choices(questions, k=count - distinct)
    chosen.shuffle(questions)
    turns = ([{"role": "system", "content": " ".join(system)}, {"role": "user", "content": q}] for q in questions)
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in turns))


def script(model_folder: Path, data: Path, to: Path) -> list[str]:
    """Batch inference as it is usually written."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    texts = [
        tokenizer.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=True) for row in rows
    ]
    answers: list[str] = []
    with torch.inference_mode():
        for start in range(0, len(texts), SCRIPT_BATCH):
            batch = tokenizer(
                texts[start : start + SCRIPT_BATCH], return_tensors="pt", padding=True, add_special_tokens=False
            )
            made = model.generate(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=NEW_TOKENS,
                do_sample=False, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
            )  # fmt: skip
            answers += tokenizer.batch_decode(made[:, batch.input_ids.shape[1] :], skip_special_tokens=True)
    lines = (json.dumps(row | {"answer": answer}) for row, answer in zip(rows, answers, strict=True))
    to.write_text("".join(f"{line}\n" for line in lines))
    return answers


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turns, then a job that is served from the cache, and one with one new row."""
    model, data = folder / "model", folder / "rows.jsonl"
    write_model(model, given.model)
    write_rows(data, AutoTokenizer.from_pretrained(model), given.rows)

    def ours(name: str, cache: str, rows: Path = data) -> tuple[Clock, Any]:
        options = {"sampling": {"max_new_tokens": NEW_TOKENS}, "cache": str(folder / cache)}
        found = timed(lambda: outcrop.batch(str(model), [str(rows)], str(folder / name), **options))
        print(name, found[0], flush=True)
        return found

    def theirs(name: str) -> tuple[Clock, Any]:
        found = timed(lambda: script(model, data, folder / name))
        print(name, found[0], flush=True)
        return found

    sides: dict[str, list[Clock]] = {"script": [], "batch": [], "cached": []}
    for turn in range(given.turns):
        clock, answers = theirs(f"script-{turn}")
        sides["script"].append(clock)
        clock, result = ours(f"batch-{turn}", f"cache-{turn}")
        sides["batch"].append(clock)
        sides["cached"].append(ours(f"cached-{turn}", f"cache-{turn}")[0])
    more = folder / "more.jsonl"
    more.write_text(data.read_text() + json.dumps({"messages": [{"role": "user", "content": "a new row"}]}) + "\n")
    new_row = ours("one-new-row", "cache-0", more)
    written = [json.loads(line)["answer"] for line in (folder / "batch-0/rows.jsonl.answers.jsonl").open()]
    same = sum(ours_.strip() == theirs_.strip() for ours_, theirs_ in zip(written, answers, strict=True))
    return summary(sides, result, same, given, new_row)


def summary(
    sides: dict[str, list[Clock]], result: Any, same: int, given: argparse.Namespace, new_row: tuple[Clock, Any]
) -> dict[str, Any]:
    """Medians of both clocks, and the ratios that are asked for."""
    seconds = {
        name: {clock: round(median(getattr(turn, clock) for turn in turns), 3) for clock in Clock._fields}
        for name, turns in sides.items()
    }

    def ratio(slow: str, fast: str) -> dict[str, float]:
        return {clock: round(seconds[slow][clock] / seconds[fast][clock], 1) for clock in Clock._fields}

    return {
        "seconds": seconds | {"one_new_row": {name: round(value, 3) for name, value in new_row[0]._asdict().items()}},
        "times_the_script": ratio("script", "batch"),
        "cached_times_the_script": ratio("script", "cached"),
        "cached_times_the_first_run": ratio("batch", "cached"),
        "rows_answered_as_by_the_script": f"{same} of {given.rows}",
        "computed_for_one_new_row": new_row[1].computed,
        "job": {
            name: getattr(result, name)
            for name in ("rows", "requests", "duplicates", "prompt_tokens", "generated_tokens", "prefix_tokens")
        },
        "model": given.model, "dtype": "float32", "new_tokens": NEW_TOKENS, "script_batch": SCRIPT_BATCH,
        "threads": given.threads, "turns": {name: [turn._asdict() for turn in turns] for name, turns in sides.items()},
        "load": os.getloadavg(), "machine": dict(reproduction().machine),
    }  # fmt: skip


def main() -> None:
    """Run everything and write results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--model", default="m30")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    os.environ["OUTCROP_THREADS"] = str(given.threads)
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(scratch), given)
    write_json(HERE / "results.json", found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
