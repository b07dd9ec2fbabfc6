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
from tests.support.tiny import SPECIAL_TOKENS, VOCABULARY


def documents(lengths: Sequence[int], *, seed: int = 0, prefix: int = 0, answer: int = 3) -> list[Segment]:
    """Random documents of these lengths whose last `answer` tokens carry loss; the first `prefix` ids are the same in
    all, the next one is not. No special tokens: transformers gives the padding token no gradient."""
    rng = np.random.default_rng(seed)
    shared = rng.integers(len(SPECIAL_TOKENS), VOCABULARY, prefix)
    made = []
    for number, length in enumerate(lengths):
        ids = rng.integers(len(SPECIAL_TOKENS), VOCABULARY, length).astype(np.int32)
        ids[:prefix] = shared[:length]
        if prefix < length:
            ids[prefix] = len(SPECIAL_TOKENS) + number
        made.append(Segment(ids, np.r_[np.zeros(length - answer), np.ones(answer)].astype(np.float32)))
    return made


def rows(segments: Sequence[Segment]) -> list[Example]:
    """Each document a row of its own."""
    return [(segment,) for segment in segments]


def plain_loss(model: Any, batch: Sequence[Segment]) -> Tensor:
    """Weighted mean loss over all documents, each computed alone by the model's own forward pass."""
    total = torch.zeros(())
    for document in batch:
        ids, weights = torch.from_numpy(document.ids.astype(np.int64)), torch.from_numpy(document.weights)
        logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1].float()
        total = total + F.cross_entropy(logits, ids[1:], reduction="none") @ weights[1:]
    return total / sum(float(document.weights[1:].sum()) for document in batch)
