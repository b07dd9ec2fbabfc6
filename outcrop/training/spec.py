"""THE hyperparameters. Command-line flags, JSON schema, docs and Bedrock names derive from this file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from outcrop.core.errors import UsageError, did_you_mean
from outcrop.core.spec import Spec, extra_of, parameter


class TrainingSpec(Spec):
    """How to train. None means: resolved from the base model and the data, and shown before the first step."""

    method: Literal["full", "lora"] = parameter("full", "which weights to train: all, or low-rank adapters")
    epochs: int = parameter(
        5, "passes over the training rows, at most", unit="epochs", bedrock="epochCount", ge=1, le=100
    )
    batch_size: int = parameter(32, "rows per optimizer step", unit="rows", bedrock="batchSize", ge=1, le=9216)
    learning_rate: float | None = parameter(
        None,
        "peak step size; default from the width of the base model",
        bedrock="learningRate",
        gt=0,
        le=1,
        source="Thinking Machines, LoRA Without Regret: LoRA wants about ten times the rate of full tuning",
    )
    learning_rate_multiplier: float = parameter(
        1.0, "factor on the learning rate", bedrock="learningRateMultiplier", ge=0.1, le=2
    )
    warmup_steps: int | None = parameter(
        None,
        "steps of linear rise; default 5 % of all",
        unit="steps",
        bedrock="learningRateWarmupSteps",
        ge=0,
        le=100_000,
    )
    schedule: Literal["linear", "cosine", "constant"] = parameter("linear", "decay of the step size after warm-up")
    optimizer: Literal["adamw", "muon"] = parameter(
        "adamw",
        "what updates the matrices between embeddings and output; Muon learns from fewer tokens from scratch",
        source="Jordan et al. 2024, Muon; Liu et al. 2025, arXiv 2502.16982",
    )
    weight_decay: float = parameter(
        0.01, "decoupled decay of matrices", ge=0, le=1, source="Loshchilov and Hutter 2019"
    )
    beta2: float = parameter(0.99, "decay of AdamW's second moment", gt=0, lt=1)
    clip_norm: float = parameter(1.0, "largest gradient norm; 0 does not clip", ge=0)
    label_smoothing: float = parameter(0.0, "share of target probability spread over the vocabulary", ge=0, lt=1)
    dropout: float = parameter(
        0.0, "dropout on the output of every attention and feed-forward, in place of the model's own", ge=0, lt=1
    )
    lora_rank: int = parameter(16, "rank of the adapters", ge=1, le=1024)
    lora_alpha: float = parameter(32.0, "scale of the adapters is alpha / rank", gt=0)
    lora_dropout: float = parameter(0.0, "dropout on the input of the adapters", ge=0, lt=1)
    lora_rslora: bool = parameter(False, "scale by alpha / sqrt(rank)", source="Kalajdzievski 2023, arXiv 2312.03732")
    early_stopping_threshold: float = parameter(
        0.001,
        "an evaluation counts as better if it improves by at least this",
        bedrock="earlyStoppingThreshold",
        ge=0,
        le=0.1,
    )
    early_stopping_patience: int = parameter(
        3,
        "evaluations in a row without improvement before stopping",
        unit="evaluations",
        bedrock="earlyStoppingPatience",
        ge=1,
        le=100,
    )
    evaluations_per_epoch: int = parameter(1, "how often to evaluate on the validation rows", ge=1, le=100)
    eval_percentage: float = parameter(
        10,
        "share of the rows held out for validation where none are given",
        unit="percent",
        bedrock="evalPercentage",
        ge=1,
        le=50,
    )
    select_by: Literal["auto", "validation_loss", "metric"] = parameter(
        "auto", "what decides the best weights and early stopping: the task metric where there is one, else the loss"
    )
    max_length: int | None = parameter(None, "longest row; default the context of the base model", unit="tokens", ge=8)
    over_long: Literal["refuse", "drop", "cut-prompt"] = parameter(
        "refuse", "what to do with longer rows; the answer is never cut"
    )
    micro_batch_tokens: int = parameter(
        4096, "tokens computed at once; memory, not results, depends on it", unit="tokens", ge=16
    )
    gradient_checkpointing: bool = parameter(False, "recompute activations: less memory, about a third slower")
    precision: Literal["auto", "float32", "bfloat16"] = parameter(
        "auto", "arithmetic; auto measures both on this machine"
    )
    max_steps: int | None = parameter(
        None, "train for so many steps at most; the schedule ends there", unit="steps", ge=1
    )
    max_minutes: float | None = parameter(None, "stop at this time and keep the best weights", unit="minutes", gt=0)
    checkpoint_minutes: float = parameter(5.0, "time between checkpoints", unit="minutes", ge=0)
    seed: int = parameter(0, "of the order of rows, dropout and new adapter weights", ge=0)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.optimizer == "muon" and self.method != "full":
            raise ValueError("optimizer muon is for method full: adapters are too thin for it")
        return self

    @classmethod
    def from_bedrock(cls, hyperparameters: Mapping[str, str], **others: Any) -> Self:
        """Build from Bedrock's hyperParameters (names in camelCase, values as strings).

        Raises UsageError for a name Bedrock does not know, with a suggestion.
        """
        names = bedrock_names()
        unknown = [name for name in hyperparameters if name not in names]
        if unknown:
            suggestions = dict.fromkeys(did_you_mean(name, names) for name in unknown)
            raise UsageError(f"Unknown hyperparameter {', '.join(unknown)}.", " ".join(suggestions))
        values = {names[name]: value for name, value in hyperparameters.items()}
        return cls.parse(values | others, names={names[name]: name for name in hyperparameters})


def bedrock_names() -> dict[str, str]:
    """Bedrock's name → ours."""
    fields = TrainingSpec.model_fields
    return {extra_of(field, "bedrock"): name for name, field in fields.items() if extra_of(field, "bedrock")}
