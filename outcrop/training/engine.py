"""One model in training: forward, backward and update of a step, and evaluation, on any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from outcrop.core.seeds import derive
from outcrop.training.batches import Example, micro_batches, total_weight
from outcrop.training.layout import ROWS, Layout, lay_out
from outcrop.training.methods import hidden_matrices, prepare
from outcrop.training.objective import CrossEntropy, Objective
from outcrop.training.optim import Optimizer
from outcrop.training.scoring import Evaluation, score_rows, summarise
from outcrop.training.spec import TrainingSpec
from outcrop.training.trunk import Trunk
from outcrop.training.weights import FlatWeights


class StepResult(NamedTuple):
    """loss: mean nats per unit of weight, without smoothing; gradient_norm before clipping; tokens computed."""

    loss: float
    gradient_norm: float
    tokens: int


class Prepared(NamedTuple):
    """A batch in micro-batches, and the sum of its loss weights."""

    layouts: list[Layout]
    weight: float


class TrainingEngine:
    """Owns the weights of `model` while it trains. dtype is that of the computation; masters are fp32.

    objective: what is minimised; cross-entropy with the label smoothing of `spec` unless another is given.
    answers_from: the first of the tokens that rows are scored among, where only the last of the vocabulary are answers.
    Raises ModelError for a model that cannot be trained, or not by the method of `spec`.
    """

    def __init__(
        self, model: Any, spec: TrainingSpec, dtype: torch.dtype, objective: Objective | None = None
    ) -> None:
        self.model, self.spec, self.answers_from = model, spec, 0
        self.objective = objective or CrossEntropy(spec.label_smoothing)
        parameters = prepare(model, spec)
        self.trunk = Trunk(model, dropout=spec.dropout, recompute=spec.gradient_checkpointing)
        hidden = hidden_matrices(model, parameters) if spec.optimizer == "muon" else ()
        self.flat = FlatWeights(parameters, dtype, hidden)
        for parameter in model.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)
        self.optimizer = Optimizer(
            self.flat, weight_decay=spec.weight_decay, beta2=spec.beta2, clip_norm=spec.clip_norm
        )
        self.device = self.flat.master.device

    def prepare(self, batch: Sequence[Example]) -> Prepared:
        """Lay a batch out, in micro-batches."""
        weight = total_weight(batch)
        assert weight > 0, "a batch without supervised tokens"
        pieces = micro_batches(batch, self.spec.micro_batch_tokens)
        return Prepared([lay_out(segments, ROWS) for segments in pieces], weight)

    def step(
        self,
        batch: Sequence[Example] | Prepared,
        index: int,
        learning_rate: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> StepResult:
        """One optimizer step. Dropout is a pure function of (seed, index), so a repeated step repeats itself.

        meanwhile: called while an accelerator is at work on the gradient.
        """
        nats, tokens = self._gradient(batch if isinstance(batch, Prepared) else self.prepare(batch), index)
        meanwhile()
        return StepResult(float(nats), self.optimizer.step(learning_rate), tokens)

    def gradient(self, batch: Sequence[Example], index: int) -> tuple[float, int]:
        """Add the gradient of a batch's mean loss to the flat buffer; returns the loss without smoothing, and how many
        tokens were computed."""
        nats, tokens = self._gradient(self.prepare(batch), index)
        return float(nats), tokens

    def _gradient(self, prepared: Prepared, index: int) -> tuple[Tensor, int]:
        self.model.train()
        nats, tokens = torch.zeros((), device=self.device), 0
        for number, layout in enumerate(prepared.layouts):
            if self.spec.dropout or self.spec.lora_dropout:
                torch.manual_seed(derive(self.spec.seed, "dropout", index, number))
            layout = layout.to(self.device)
            loss = self.objective(self.trunk(layout), self.head, layout, prepared.weight)
            loss.value.backward()
            if len(prepared.layouts) > 1:
                self.optimizer.accumulate()
            nats, tokens = nats + loss.shown.detach(), tokens + len(layout.ids)
        return nats, tokens

    def evaluate(self, examples: Sequence[Example]) -> Evaluation:
        """Loss and teacher-forced exact match over all examples."""
        return summarise(score_rows(self.trunk, examples, self.spec.micro_batch_tokens, self.answers_from))

    @property
    def head(self) -> Tensor:
        """The output matrix [V, E]."""
        weight: Tensor = self.trunk.head.weight
        return weight

    def state(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs: master weights and optimizer."""
        return {"master": self.flat.master, **self.optimizer.state()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Set what `state` returned."""
        self.restore_weights(tensors["master"])
        self.optimizer.restore(tensors)

    def restore_weights(self, master: Tensor) -> None:
        """Set the weights alone, and drop gradients that belonged to others."""
        self.flat.master.copy_(master)
        self.flat.publish()
        self.flat.grad.zero_()
