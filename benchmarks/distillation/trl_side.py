"""TRL's side of beside_trl.py, in its own environment: GKDTrainer on given answers, or on the student's own."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl.experimental.gkd import GKDConfig, GKDTrainer


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("teacher", "student", "rows", "settings", "to"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    settings = json.loads(options.settings)
    torch.set_num_threads(settings["threads"])
    rows = [json.loads(line) for line in Path(options.rows).read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(options.student)
    models = [
        AutoModelForCausalLM.from_pretrained(each, dtype=torch.float32) for each in (options.student, options.teacher)
    ]
    clock = StepClock()
    with tempfile.TemporaryDirectory() as scratch:
        config = GKDConfig(
            output_dir=scratch, lmbda=float(settings["on_policy"]), beta=float(settings["on_policy"]), temperature=1.0,
            max_new_tokens=settings["longest"], seq_kd=False, bf16=settings["bf16"], report_to=[],
            per_device_train_batch_size=settings["batch_size"], num_train_epochs=settings["epochs"],
            learning_rate=settings["learning_rate"], warmup_steps=settings["warmup_steps"], lr_scheduler_type="linear",
            weight_decay=0.01, adam_beta2=0.99, max_grad_norm=1.0, seed=0, use_cpu=True, save_strategy="no",
            gradient_checkpointing=False, optim="adamw_torch_fused", logging_steps=1_000_000,
            dataloader_pin_memory=False, max_length=256,
        )  # fmt: skip
        trainer = GKDTrainer(
            model=models[0], teacher_model=models[1], args=config, processing_class=tokenizer,
            train_dataset=Dataset.from_list(rows), callbacks=[clock],
        )  # fmt: skip
        trainer.train()
    trainer.save_model(options.to)
    seconds = [after - before for before, after in zip(clock.ends, clock.ends[1:], strict=False)]
    found = {"seconds": seconds, "versions": {"trl": trl.__version__, "transformers": transformers.__version__}}
    (Path(options.to) / "seconds.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
