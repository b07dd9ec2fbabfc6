"""Every parameter as it will be used, and where its value came from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from outcrop.core.errors import UsageError
from outcrop.core.events import Listener
from outcrop.core.files import write_atomic
from outcrop.core.spec import Resolved
from outcrop.models.loading import LoadedModel
from outcrop.models.precision import Precision, choose
from outcrop.training.batches import BatchPlan
from outcrop.training.spec import TrainingSpec, bedrock_names

FULL_RATE, LORA_FACTOR, WIDTH_POWER = 4e-3, 4.0, 1.27
"""Peak rate of full tuning at width 64, LoRA's multiple of it, and the power of the width by which it falls: through
4e-3 at width 64 and 1e-3 at 192, which were tried, towards the 2e-5 at 4,096 that is usual."""


ACTIVATION_SHARE, ACTIVATION_BYTES, MOST_TOKENS = 0.25, 64, 65_536
"""Of a GPU's free memory; bytes per token, layer and unit of width; and where larger products are no faster."""


class ResolvedSpec(NamedTuple):
    """The spec with nothing left open, the dtype and what decided it, and the account of every value."""

    spec: TrainingSpec
    precision: Precision
    parameters: list[Resolved]


def parse_settings(settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> TrainingSpec:
    """A spec from values under our names or Bedrock's. Raises UsageError for unknown names and values out of bounds."""
    names = bedrock_names()
    return TrainingSpec.parse(
        {**(defaults or {}), **{names.get(name, name): value for name, value in settings.items()}}
    )


def resolve(
    spec: TrainingSpec,
    sources: Mapping[str, str],
    loaded: LoadedModel,
    rows: int,
    listener: Listener,
    run: Path | None = None,
) -> ResolvedSpec:
    """Fill in what depends on the base model and the data, and tell the listener.

    run: the run's folder, which remembers the measured precision, so that a resumed run computes as it began.
    """
    config = loaded.model.config
    derived: dict[str, tuple[Any, str]] = {}
    if (spec.max_length or 0) > loaded.context:
        raise UsageError(
            f"max_length {spec.max_length:,} is more than the {loaded.context:,} tokens that the base model reads.",
            f"Give at most {loaded.context}, or leave it out.",
        )
    if spec.max_length is None:
        derived["max_length"] = (loaded.context, "base model: its context")
    if spec.learning_rate is None:
        derived["learning_rate"] = (
            default_rate(config.hidden_size, spec.method),
            f"base model: width {config.hidden_size}",
        )
    if spec.warmup_steps is None:
        steps = BatchPlan(rows, spec.batch_size, spec.seed).total(spec.epochs, spec.max_steps)
        derived["warmup_steps"] = (max(1, steps // 20), f"data: 5 % of {steps} steps")
    if loaded.model.device.type == "cuda" and "micro_batch_tokens" not in spec.model_fields_set:
        free = torch.cuda.mem_get_info(loaded.model.device)[0]
        tokens = fitting_tokens(free, config.hidden_size, config.num_hidden_layers, spec.micro_batch_tokens)
        derived["micro_batch_tokens"] = (tokens, f"device: {free / 1e9:.0f} GB free")
    complete = spec.model_copy(update={name: value for name, (value, _) in derived.items()})
    precision = _precision(complete, loaded, run)
    account = [
        Resolved(name, getattr(complete, name), derived[name][1] if name in derived else _source(name, spec, sources))
        for name in TrainingSpec.model_fields
    ]
    measured = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in precision.gflops.items())
    account.append(
        Resolved(
            "dtype", str(precision.dtype).removeprefix("torch."), f"measured: {measured}" if measured else "precision"
        )
    )
    listener({"event": "resolved", "parameters": [vars(entry) for entry in account]})
    return ResolvedSpec(complete, precision, account)


def _precision(spec: TrainingSpec, loaded: LoadedModel, run: Path | None) -> Precision:
    config, remembered = loaded.model.config, None if run is None else run / "precision.txt"
    asked = remembered.read_text() if remembered and remembered.exists() else spec.precision
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    # On a GPU few rows would time the launch of the product, not the product.
    rows = min(spec.micro_batch_tokens, 2048 if loaded.model.device.type == "cpu" else MOST_TOKENS)
    chosen = choose(asked, width=config.hidden_size, inner=inner, rows=rows, device=loaded.model.device)
    if remembered and spec.precision == "auto":
        write_atomic(remembered, str(chosen.dtype).removeprefix("torch."))
    return chosen


def fitting_tokens(free_bytes: int, width: int, layers: int, least: int) -> int:
    """Tokens, a power of 2, whose activations take a part of the free memory that leaves room for the rest."""
    fitting = free_bytes * ACTIVATION_SHARE / (ACTIVATION_BYTES * width * layers)
    return int(min(MOST_TOKENS, max(least, 2 ** int(math.log2(max(fitting, 1))))))


def default_rate(width: int, method: str) -> float:
    """Peak learning rate for a model of this width, rounded to two digits."""
    rate = FULL_RATE * (64 / width) ** WIDTH_POWER * (LORA_FACTOR if method == "lora" else 1)
    return float(f"{min(rate, 1.0):.1e}")


def _source(name: str, spec: TrainingSpec, sources: Mapping[str, str]) -> str:
    bedrock = {ours: theirs for theirs, ours in bedrock_names().items()}
    given = sources.get(name) or sources.get(bedrock.get(name, ""))
    return given or ("argument" if name in spec.model_fields_set else "default")
