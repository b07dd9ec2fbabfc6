"""Interpolated modified Kneser-Ney n-grams over token ids (Chen and Goodman 1999, section 3): the baseline for text.

An n-gram is known by (the id of its first n-1 tokens, its last token), so that arrays hold all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """All n-grams of one length. keys [N], ascending: id of the context · vocabulary + last token; the id of an n-gram
    is its row here. discounted [N]: adjusted count less its discount, over the context's total; backoff [contexts]:
    the weight left for the shorter context."""

    keys: Ids
    discounted: NDArray[np.float64]
    backoff: NDArray[np.float64]


class KneserNey:
    """A model of `order` learnt from documents, each a sequence of token ids that begins with a begin token."""

    def __init__(self, documents: Sequence[NDArray[np.integer]], vocabulary: int, order: int = 5) -> None:
        self.vocabulary = vocabulary
        tokens = np.concatenate(documents).astype(np.int64)
        depth = np.concatenate([np.arange(len(document)) for document in documents])
        ids, starts = tokens, np.arange(len(tokens))
        counts = [np.bincount(tokens, minlength=vocabulary)]
        keys, inside, contexts = [np.arange(vocabulary)], [ids], [1]
        firsts: list[Ids] = [starts]
        for length in range(2, order + 1):
            previous = np.concatenate([[-1], inside[-1][:-1]])
            whole = np.flatnonzero(depth >= length - 1)
            found, first, inverse, number = np.unique(
                previous[whole] * vocabulary + tokens[whole], return_index=True, return_inverse=True, return_counts=True
            )
            ids = np.full(len(tokens), -1)
            ids[whole] = inverse
            contexts.append(len(keys[-1]))
            keys.append(found)
            firsts.append(whole[first])
            inside.append(ids)
            counts.append(number)
        adjusted = [self._continuations(counts[n], inside[n], firsts[n + 1]) for n in range(order - 1)] + [counts[-1]]
        self.orders = [
            self._order(key, count, context) for key, count, context in zip(keys, adjusted, contexts, strict=True)
        ]

    @staticmethod
    def _continuations(raw: Ids, inside: Ids, firsts: Ids) -> Ids:
        """In how many contexts each n-gram occurs; those that only begin documents keep their count."""
        found = np.bincount(inside[firsts], minlength=len(raw))
        return np.where(found > 0, found, raw)

    def _order(self, keys: Ids, counts: Ids, contexts: int) -> Order:
        seen = np.bincount(np.minimum(counts, 5), minlength=5).astype(float)
        share = seen[1] / max(seen[1] + 2 * seen[2], 1)
        discounts = np.array([0, *(n - (n + 1) * share * seen[n + 1] / max(seen[n], 1) for n in (1, 2, 3))])
        discount = discounts.clip(0)[np.minimum(counts, 3)]
        context = keys // self.vocabulary if contexts > 1 else np.zeros(len(keys), np.int64)
        total = np.bincount(context, counts, contexts).clip(1e-9)
        taken = np.bincount(context, np.minimum(discount, counts), contexts)
        return Order(keys, (counts - discount).clip(0) / total[context], np.where(taken > 0, taken / total, 1.0))

    def nats(self, document: NDArray[np.integer]) -> float:
        """Negative log-likelihood of all tokens but the first."""
        tokens = document.astype(np.int64)
        probability = self.orders[0].backoff[0] / self.vocabulary + self.orders[0].discounted[tokens]
        ids = tokens
        for order in self.orders[1:]:
            context = np.concatenate([[-1], ids[:-1]])
            key = context * self.vocabulary + tokens
            row = np.searchsorted(order.keys, key).clip(max=len(order.keys) - 1)
            known = (context >= 0) & (order.keys[row] == key)
            weight = np.where(context >= 0, order.backoff[context.clip(0)], 1.0)
            probability = np.where(known, order.discounted[row], 0.0) + weight * probability
            ids = np.where(known, row, -1)
        return float(-np.log(probability[1:]).sum())
