"""Perplexity of the reference texts: exp of the mean negative log-likelihood per token (Jelinek et al. 1977)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from outcrop.evaluation.metrics.metric import Example, FloatArray, SetMetric, Sums, needed, ratio


def summarise(examples: Sequence[Example]) -> Sums:
    """Per row: negative log-likelihood in nats, tokens."""
    rows = [[-needed(e.logprob, "Perplexity", "log-likelihood"), needed(e.tokens, "Perplexity", "tokens")]
            for e in examples]
    return Sums(np.array(rows), _perplexity)


def _perplexity(sums: FloatArray) -> FloatArray:
    value: FloatArray = np.exp(ratio(sums))
    return value


METRIC = SetMetric(
    name="perplexity", title="Perplexity", direction="lower", low=1.0, high=math.inf,
    source="per token of the model's own tokeniser; comparable only between models that share it", summarise=summarise,
)
