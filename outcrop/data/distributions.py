"""What is compared between two samples of records: labels, lengths, words, languages; and how far they are apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outcrop.data.labels import label_set
from outcrop.data.language import WORD, language
from outcrop.data.records import Record, answer_text, prompt_text

UNCLEAR = "unclear"
MOST_WORDS = 5000
"""Words of the vocabulary that are told apart, the most frequent ones; the others count as one."""

READ_WORDS = 500
LENGTH_BINS = 10
Floats = NDArray[np.float64]


def aspects(first: Sequence[Record], second: Sequence[Record]) -> dict[str, tuple[Any, Any]]:
    """For each aspect what every row of both samples adds to the counts, as scipy.sparse matrices [rows, categories].

    Labels are there only where the answers of both samples are labels.
    """
    found = {}
    labels = [label_set(side) for side in (first, second)]
    if all(labels):
        found["labels"] = _one_each([[answer_text(record).strip() for record in side] for side in (first, second)])
    lengths = [[len(prompt_text(record)) for record in side] for side in (first, second)]
    edges = np.unique(np.quantile(lengths[0] + lengths[1], np.linspace(0, 1, LENGTH_BINS + 1)[1:-1]))
    found["length"] = _one_each([[str(np.searchsorted(edges, each)) for each in side] for side in lengths])
    found["words"] = _words([[words(prompt_text(record)) for record in side] for side in (first, second)])
    spoken = [[language(prompt_text(record)) or UNCLEAR for record in side] for side in (first, second)]
    found["language"] = _one_each(spoken)
    return found


def words(text: str) -> list[str]:
    """The words of the beginning of a text, in lower case."""
    return [match.group() for _, match in zip(range(READ_WORDS), WORD.finditer(text.lower()), strict=False)]


def divergence(first: Floats, second: Floats) -> Floats:
    """Jensen–Shannon divergence in bits, 0 for equal and 1 for disjoint distributions (Lin 1991, eq. 4.1).

    first, second: counts [..., categories].
    """
    left = first / np.maximum(first.sum(axis=-1, keepdims=True), 1e-300)
    right = second / np.maximum(second.sum(axis=-1, keepdims=True), 1e-300)
    middle = (left + right) / 2
    found: Floats = (_relative(left, middle) + _relative(right, middle)) / 2
    return found.clip(0, 1)


def separability(first: Floats, second: Floats) -> Floats:
    """Area under the ROC curve from counts of rows by ascending score [..., bins]: ties count half (Mann, Whitney)."""
    below = np.cumsum(first, axis=-1) - first / 2
    pairs = first.sum(axis=-1) * second.sum(axis=-1)
    area: Floats = (second * below).sum(axis=-1) / pairs
    return area


def one_hot(codes: Sequence[int] | NDArray[np.int64], count: int) -> Any:
    """Rows with a single 1, in the column of their code."""
    from scipy.sparse import csr_matrix

    rows = np.arange(len(codes))
    return csr_matrix((np.ones(len(codes)), (rows, np.asarray(codes))), shape=(len(codes), count))


def _relative(distribution: Floats, reference: Floats) -> Floats:
    """Kullback–Leibler divergence in bits; 0 · log 0 is 0."""
    ratio = np.divide(distribution, reference, out=np.ones_like(distribution), where=distribution > 0)
    summed: Floats = (distribution * np.log2(ratio)).sum(axis=-1)
    return summed


def _one_each(sides: Sequence[Sequence[str]]) -> tuple[Any, Any]:
    number = {value: index for index, value in enumerate(sorted({value for side in sides for value in side}))}
    first, second = (one_hot([number[value] for value in side], len(number)) for side in sides)
    return first, second


def _words(sides: Sequence[Sequence[Sequence[str]]]) -> tuple[Any, Any]:
    from scipy.sparse import csr_matrix

    frequency = Counter(word for side in sides for text in side for word in text)
    kept = sorted(word for word, _ in frequency.most_common(MOST_WORDS))
    number: Callable[[str], int] = {word: index for index, word in enumerate(kept)}.get  # type: ignore[assignment]
    found = []
    for side in sides:
        places = [(row, number(word)) for row, text in enumerate(side) for word in text]
        columns = [len(kept) if column is None else column for _, column in places]
        shape = (len(side), len(kept) + 1)
        found.append(csr_matrix((np.ones(len(places)), ([row for row, _ in places], columns)), shape=shape))
    return found[0], found[1]
