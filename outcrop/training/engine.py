"""One model in training: forward, backward and update of a step, and evaluation, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from outcrop.core.seeds import derive
from outcrop.training import objective
from outcrop.training.batches import Example, micro_batches, total_weight
from outcrop.training.layout import lay_out
from outcrop.training.methods import prepare
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


class TrainingEngine:
    """Owns the weights of `model` while it trains. dtype is that of the computation; masters are fp32."""

    def __init__(self, model: Any, spec: TrainingSpec, dtype: torch.dtype) -> None:
        self.model, self.spec = model, spec
        parameters = prepare(model, spec)
        self.flat = FlatWeights(parameters, dtype)
        self._convert_frozen(parameters, dtype)
        self.trunk = Trunk(model, dropout=spec.dropout, recompute=spec.gradient_checkpointing)
        self.optimizer = Optimizer(
            self.flat, weight_decay=spec.weight_decay, beta2=spec.beta2, clip_norm=spec.clip_norm
        )
        self.device = self.flat.master.device

    def step(self, batch: Sequence[Example], index: int, learning_rate: float) -> StepResult:
        """One optimizer step. Dropout is a pure function of (seed, index), so a repeated step repeats itself."""
        self.model.train()
        pieces = micro_batches(batch, self.spec.micro_batch_tokens)
        weight = total_weight(batch)
        nats, tokens = torch.zeros((), device=self.device), 0
        for number, segments in enumerate(pieces):
            if self.spec.dropout or self.spec.lora_dropout:
                torch.manual_seed(derive(self.spec.seed, "dropout", index, number))
            layout = lay_out(segments).to(self.device)
            loss, nll = objective.cross_entropy(
                self.trunk(layout), self.head, layout, weight, self.spec.label_smoothing
            )
            loss.backward()
            self.optimizer.collect(more=len(pieces) > 1)
            nats, tokens = nats + nll.detach(), tokens + len(layout.ids)
        norm = self.optimizer.step(learning_rate, summed=len(pieces) > 1)
        return StepResult(float(nats), norm, tokens)

    def evaluate(self, examples: Sequence[Example]) -> Evaluation:
        """Loss and teacher-forced exact match over all examples."""
        return summarise(score_rows(self.trunk, examples, self.spec.micro_batch_tokens))

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
        self.flat.master.copy_(tensors["master"])
        self.flat.publish()
        self.flat.grad.zero_()
        self.optimizer.restore(tensors)

    def forget_steps(self) -> None:
        """Make the optimizer as new, after steps that were taken at rate 0 to time them."""
        self.optimizer.adamw.state.clear()

    def _convert_frozen(self, trained: dict[str, nn.Parameter], dtype: torch.dtype) -> None:
        mine = {id(parameter) for parameter in trained.values()}
        for parameter in self.model.parameters():
            if id(parameter) not in mine:
                parameter.data = parameter.data.to(dtype)
