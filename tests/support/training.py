"""Training in tests: specs with nothing open, gradients by parameter, comparisons with one number."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from outcrop.training.engine import TrainingEngine
from outcrop.training.layout import Segment
from outcrop.training.spec import TrainingSpec
from tests.support.documents import plain_loss, rows


def spec(**settings: Any) -> TrainingSpec:
    """A resolved spec."""
    return TrainingSpec.parse({"learning_rate": 1e-2, "warmup_steps": 0} | settings)


def engine(model: Any, dtype: torch.dtype = torch.float32, **settings: Any) -> TrainingEngine:
    """An engine on a copy of the model."""
    return TrainingEngine(copy.deepcopy(model), spec(**settings), dtype)


def our_gradients(model: Any, batch: Sequence[Segment], **settings: Any) -> dict[str, Tensor]:
    """Gradients by parameter name, with the loss beside them under the name "loss"."""
    training = engine(model, **settings)
    loss, _ = training.gradient(rows(batch), 0)
    return {"loss": torch.tensor(loss)} | {n: s.of(training.flat.grad) for n, s in training.flat.slots.items()}


def plain_gradients(model: Any, batch: Sequence[Segment]) -> dict[str, Tensor]:
    """The same by the model's own forward pass, document by document."""
    model = copy.deepcopy(model)
    loss = plain_loss(model, batch)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {"loss": loss.detach()} | gradients


def distance(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The largest difference of an element, in units of the largest element of its tensor where that is over 1."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[n] - theirs[n]).abs().max() / theirs[n].abs().max().clamp(min=1)) for n in theirs)
