"""Random documents for training tests, and what transformers itself makes of them, one document at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from outcrop.training.batches import Example
from outcrop.training.layout import Segment
from tests.support.tiny import VOCABULARY


def documents(
    lengths: Sequence[int], *, seed: int = 0, prefix: int = 0, answer: int = 3, vocabulary: int = VOCABULARY
) -> list[Segment]:
    """Random documents of these lengths whose last `answer` tokens carry loss; the first `prefix` ids are the same in
    all, and the next one is not."""
    rng = np.random.default_rng(seed)
    shared = rng.integers(0, vocabulary, prefix)
    made = []
    for number, length in enumerate(lengths):
        ids = rng.integers(0, vocabulary, length).astype(np.int32)
        ids[: len(shared)] = shared[:length]
        if prefix < length:
            ids[prefix] = number
        weights = np.zeros(length, np.float32)
        weights[-answer:] = 1
        made.append(Segment(ids, weights))
    return made


def examples(lengths: Sequence[int], **options: Any) -> list[Example]:
    """The same documents, each a row of its own."""
    return [(document,) for document in documents(lengths, **options)]


def plain_losses(model: Any, document: Segment) -> Tensor:
    """Negative log-likelihood of every token but the first, [length - 1], by the model's own forward pass."""
    ids = torch.from_numpy(document.ids.astype(np.int64))
    logits = model(input_ids=ids[None], use_cache=False).logits[0]
    return F.cross_entropy(logits[:-1].float(), ids[1:], reduction="none")


def plain_loss(model: Any, batch: Sequence[Segment]) -> Tensor:
    """Weighted mean over all documents, each computed alone."""
    weight = sum(float(document.weights[1:].sum()) for document in batch)
    losses = [plain_losses(model, d) @ torch.from_numpy(d.weights[1:]) for d in batch]
    return torch.stack(losses).sum() / weight


def plain_gradients(model: Any, batch: Sequence[Segment]) -> dict[str, Tensor]:
    """Gradients of `plain_loss` by parameter name."""
    model.zero_grad()
    plain_loss(model, batch).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
