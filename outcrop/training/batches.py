"""Which rows make up step k: a pure function of (seed, k), so that resuming, or computing in other pieces, changes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from outcrop.core.seeds import derive
from outcrop.models.rendering import Rendered
from outcrop.training.layout import Segment

Example = tuple[Segment, ...]
"""One row of a batch: one document, or the pieces of documents that share a window of text."""


@dataclass(frozen=True)
class BatchPlan:
    """Steps over `rows` rows: every row once an epoch, in an order drawn anew for each; the last batch may be smaller."""

    rows: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.rows / self.batch_size)

    def step(self, k: int) -> list[int]:
        """Row numbers of step k, k ≥ 0."""
        epoch, index = divmod(k, self.steps_per_epoch)
        order = np.random.default_rng(derive(self.seed, "epoch", epoch)).permutation(self.rows)
        return [int(row) for row in order[index * self.batch_size : (index + 1) * self.batch_size]]


def from_rows(rows: Sequence[Rendered]) -> list[Example]:
    """Rows of labelled data: one document each."""
    return [(Segment(row.token_ids, row.weights),) for row in rows]


def from_texts(rows: Iterator[Rendered] | Sequence[Rendered], window: int) -> list[Example]:
    """Documents laid end to end and cut into windows of `window` tokens; inside a window documents stay apart.

    A piece of one token has nothing to predict and is left out; the last window may be shorter. Each piece starts
    anew: its first token is context only.
    """
    examples: list[Example] = []
    pieces: list[Segment] = []
    room = window
    for row in rows:
        start = 0
        while start < len(row.token_ids):
            taken = min(room, len(row.token_ids) - start)
            if taken > 1:
                pieces.append(Segment(row.token_ids[start : start + taken], [0.0, *row.weights[start + 1 : start + taken]]))
            start, room = start + taken, room - taken
            if room == 0:
                examples.append(tuple(pieces))
                pieces, room = [], window
    return [*examples, tuple(pieces)] if pieces else examples


def micro_batches(examples: Sequence[Example], tokens: int) -> list[list[Segment]]:
    """Split a batch into pieces of at most `tokens` tokens (one long document alone may exceed it), longest first."""
    segments = sorted((segment for example in examples for segment in example), key=lambda s: -len(s.ids))
    batches: list[list[Segment]] = []
    room = 0
    for segment in segments:
        if not batches or len(segment.ids) > room:
            batches.append([])
            room = tokens
        batches[-1].append(segment)
        room -= len(segment.ids)
    return batches


def total_weight(examples: Sequence[Example]) -> float:
    """Sum of the loss weights of a batch: what its loss is divided by, however it is split."""
    return float(sum(sum(segment.weights) for example in examples for segment in example))
