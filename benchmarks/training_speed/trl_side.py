"""TRL's side: SFTTrainer on the benchmark's rows, in its own environment, one process, one JSON object to --to."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from process import peak_memory_bytes, versions
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback
from trl import SFTConfig, SFTTrainer

TUNED: dict[str, Any] = {
    "gradient_checkpointing": False,
    "optim": "adamw_torch_fused",
    "logging_steps": 1_000_000,
    "dataloader_pin_memory": False,
}


@dataclass(frozen=True)
class Column:
    """A way to run SFTTrainer. config: what differs from SFTConfig's defaults; weights: dtype that the model is loaded
    in; plain_loss: transformers' own loss in place of TRL's; by_length: rows of a step sorted by length."""

    config: dict[str, Any] = field(default_factory=dict)
    weights: str = "float32"
    plain_loss: bool = False
    by_length: bool = False


def micro_batches(size: int) -> dict[str, Any]:
    """The 16 rows of a step in pieces of `size`."""
    return {"per_device_train_batch_size": size, "gradient_accumulation_steps": 16 // size}


COLUMNS = {
    "default": Column(),
    "tuned": Column(TUNED),
    "float32": Column(TUNED | {"bf16": False}),
    "chunked": Column(TUNED | {"loss_type": "chunked_nll"}),
    "plain-loss": Column(TUNED, plain_loss=True),
    "bf16-weights": Column(TUNED, weights="bfloat16"),
    "multiple-of-8": Column(TUNED | {"pad_to_multiple_of": 8}),
    "padding-free": Column(TUNED | {"padding_free": True, "max_length": None}),
    "padding-free-plain-loss": Column(TUNED | {"padding_free": True, "max_length": None}, plain_loss=True),
    "packing": Column(TUNED | {"packing": True, "max_length": 512, "per_device_train_batch_size": 1}),
    "length-grouped": Column(TUNED | {"train_sampling_strategy": "group_by_length"}),
    "by-length-8": Column(TUNED | micro_batches(8), by_length=True),
    "by-length-4": Column(TUNED | micro_batches(4), by_length=True),
    "by-length-8-plain-loss": Column(TUNED | micro_batches(8), plain_loss=True, by_length=True),
    "by-length-4-plain-loss": Column(TUNED | micro_batches(4), plain_loss=True, by_length=True),
    "by-length-2-plain-loss": Column(TUNED | micro_batches(2), plain_loss=True, by_length=True),
    "compiled": Column(TUNED | {"torch_compile": True}),
}


class StepClock(TrainerCallback):
    """Keeps the time at which training began and each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.ends.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step has ended."""
        self.ends.append(time.perf_counter())


class RecordingTrainer(SFTTrainer):
    """SFTTrainer that keeps the loss of each micro-batch, which costs nothing measurable."""

    micro_losses: list[float]

    def training_step(self, *arguments: Any, **options: Any) -> Any:
        """As SFTTrainer's."""
        loss = super().training_step(*arguments, **options)
        self.micro_losses.append(float(loss))
        return loss


class PlainLossTrainer(RecordingTrainer):
    """The same with the loss of transformers, the way TRL's documentation says to exchange it."""

    def compute_loss(self, *arguments: Any, **options: Any) -> Any:
        """As transformers' Trainer."""
        return Trainer.compute_loss(self, *arguments, **options)


def pieces(items: list[Any], size: int) -> list[list[Any]]:
    """Consecutive pieces of this size; the last may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def load_rows(path: Path, column: Column) -> list[dict[str, list[int]]]:
    """Token ids and completion mask, in the order of training."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if not column.by_length:
        return rows
    return [row for step in pieces(rows, 16) for row in sorted(step, key=lambda row: -len(row["input_ids"]))]


def check_rows(trainer: SFTTrainer, rows: list[dict[str, list[int]]]) -> None:
    """Refuse to measure unless the trainer will see exactly our token ids and train exactly our supervised tokens."""
    found = trainer.train_dataset
    if len(found) != len(rows):
        raise SystemExit(f"SFTTrainer keeps {len(found)} of {len(rows)} rows.")
    for number, (theirs, ours) in enumerate(zip(found, rows, strict=True)):
        labels = [i if m else -100 for i, m in zip(ours["input_ids"], ours["completion_mask"], strict=True)]
        if theirs["input_ids"] != ours["input_ids"] or theirs["labels"] != labels:
            raise SystemExit(f"Row {number} differs: {theirs} against {ours}.")


def build(given: argparse.Namespace, column: Column, clock: StepClock, output: str) -> RecordingTrainer:
    """The trainer of a column, with what the benchmark fixes for every column."""
    common = {
        "per_device_train_batch_size": 16,
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "completion_only_loss": True,
        "use_cpu": True,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "output_dir": output,
    }
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=getattr(torch, column.weights))
    if given.adapter:
        model = PeftModel.from_pretrained(model, given.adapter, is_trainable=True)
    kind = PlainLossTrainer if column.plain_loss else RecordingTrainer
    rows = load_rows(given.rows, column)
    trainer = kind(
        model=model,
        args=SFTConfig(**{**common, **given.settings, **column.config}),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(given.model),
        callbacks=[clock],
    )
    trainer.micro_losses = []
    if not column.config.get("packing"):
        check_rows(trainer, rows)
    return trainer


def main() -> None:
    """Train one epoch and write times, losses and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter", default="", help="a LoRA adapter to train in place of the model")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True, help="arguments of SFTConfig, as JSON")
    parser.add_argument("--column", choices=COLUMNS, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    started = time.perf_counter()
    clock = StepClock()
    with tempfile.TemporaryDirectory() as output:
        trainer = build(given, COLUMNS[given.column], clock, output)
        trainer.train()
    result = {
        "seconds": [after - before for before, after in zip(clock.ends, clock.ends[1:], strict=False)],
        "losses": [sum(micro) for micro in pieces(trainer.micro_losses, trainer.args.gradient_accumulation_steps)],
        "peak_memory_bytes": peak_memory_bytes(),
        "total_seconds": time.perf_counter() - started,
        "versions": versions("torch", "transformers", "trl", "peft", "accelerate"),
    }
    given.to.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
