"""Which rows make up step k: a pure function of (seed, k), so that resuming or computing in pieces changes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from outcrop.core.seeds import derive
from outcrop.models.rendering import Rendered
from outcrop.training.layout import Segment

Example = tuple[Segment, ...]
"""One row of a batch: one document, or the pieces of documents that share a window of text."""


@dataclass(frozen=True)
class BatchPlan:
    """Steps over `rows` rows: each row once an epoch, in an order drawn anew; the last batch may be smaller."""

    rows: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps that see every row once."""
        return math.ceil(self.rows / self.batch_size)

    def total(self, epochs: int, limit: int | None = None) -> int:
        """Steps of so many epochs, or the limit where that is less."""
        return min(self.steps_per_epoch * epochs, limit or self.steps_per_epoch * epochs)

    def step(self, k: int) -> list[int]:
        """Row numbers of step k, k ≥ 0."""
        epoch, index = divmod(k, self.steps_per_epoch)
        order = _order(self.rows, derive(self.seed, "epoch", epoch))
        return [int(row) for row in order[index * self.batch_size : (index + 1) * self.batch_size]]


@lru_cache(maxsize=2)
def _order(rows: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(rows)


def from_rows(rows: Sequence[Rendered]) -> list[Example]:
    """Rows of labelled data: one document each."""
    return [(Segment(np.array(row.token_ids, np.int32), np.array(row.weights, np.float32)),) for row in rows]


def pack(examples: Sequence[Example], tokens: int) -> list[list[tuple[int, Segment]]]:
    """All segments, with the number of their example, in groups of at most `tokens` tokens, longest first; one long
    document alone may exceed it."""
    numbered = [(number, segment) for number, example in enumerate(examples) for segment in example]
    groups: list[list[tuple[int, Segment]]] = []
    room = 0
    for number, segment in sorted(numbered, key=lambda pair: -len(pair[1].ids)):
        if not groups or len(segment.ids) > room:
            groups.append([])
            room = tokens
        groups[-1].append((number, segment))
        room -= len(segment.ids)
    return groups


def micro_batches(examples: Sequence[Example], tokens: int) -> list[list[Segment]]:
    """A batch split into pieces of at most `tokens` tokens that are computed one after another."""
    return [[segment for _, segment in group] for group in pack(examples, tokens)]


def total_weight(examples: Sequence[Example]) -> float:
    """Sum of the loss weights of a batch: what its loss is divided by, however it is split."""
    return float(sum(segment.weights[1:].sum() for example in examples for segment in example))
