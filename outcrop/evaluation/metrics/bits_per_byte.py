"""Bits per UTF-8 byte of the reference texts: comparable between models with different tokenisers (Gao et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from outcrop.evaluation.metrics.metric import Example, SetMetric, Sums, needed, ratio


def summarise(examples: Sequence[Example]) -> Sums:
    """Per row: negative log-likelihood in bits, bytes."""
    rows = [[-needed(e.logprob, "Bits per byte", "log-likelihood") / math.log(2),
             needed(e.utf8_bytes, "Bits per byte", "UTF-8 bytes")] for e in examples]
    return Sums(np.array(rows), ratio)


METRIC = SetMetric(
    name="bits_per_byte", title="Bits per byte", direction="lower", high=math.inf,
    source="The Pile, arXiv 2101.00027, section 3.1", summarise=summarise,
)
