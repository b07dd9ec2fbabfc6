"""What is doubtful about labels: spellings of one label, files that disagree, rows that a model would label otherwise.

Confident learning: Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels".
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import DataError
from outcrop.core.results import JsonReady
from outcrop.data.assignment import Codes
from outcrop.data.labels import label_set
from outcrop.data.neighbours import clusters
from outcrop.data.ngrams import Probabilities, out_of_fold, vectors
from outcrop.data.records import Record, answer_text, parts, prompt_text
from outcrop.data.shingles import normalise

EXPECTED_ROWS = 8.0
"""A label that was to be expected so often in a file and is not there is not absent by chance: e⁻⁸ is 0.0003."""

CLEAR_SHIFT = 5.0
"""Standard errors by which a label's share in a file must differ from that elsewhere, beside being twice or half."""

FEWEST_ROWS = 50
"""Rows below which no model of the labels is worth asking."""


class Variant(NamedTuple):
    """A label that is another one in all but letter case, spacing, or the signs between its words."""

    label: str
    usual: str


class Drift(NamedTuple):
    """A label whose share in one file differs from that in the others."""

    file: str
    label: str
    here: int
    here_rows: int
    elsewhere: int
    elsewhere_rows: int

    def __str__(self) -> str:
        return (
            f"{self.label!r}: {self.here:,} of {self.here_rows:,} rows here, "
            f"{self.elsewhere:,} of {self.elsewhere_rows:,} in the other files"
        )


@dataclass(frozen=True)
class Doubt(JsonReady):
    """A row whose label a model trained on the other rows contradicts. margin: probability given − suggested."""

    file: str
    line: int
    field: str
    given: str
    suggested: str
    margin: float


@dataclass(frozen=True)
class LabelDoubts(JsonReady):
    """Rows in doubt, the clearest first. accuracy: of the model out of fold, against the given labels; noise: the share
    of wrong labels that follows, which holds the model's own errors too where it is weak."""

    rows: int
    labels: int
    accuracy: float
    noise: float
    doubts: tuple[Doubt, ...]


def variants(counts: Mapping[str, int]) -> list[Variant]:
    """Labels that differ only in case, spacing, hyphens, underscores or a final stop; the most frequent is usual."""
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        spellings[_bare(label)].append(label)
    found = []
    for group in spellings.values():
        usual, *others = sorted(group, key=lambda label: (-counts[label], label))
        found += [Variant(label, usual) for label in others]
    return sorted(found)


def drifts(by_file: Mapping[str, Mapping[str, int]]) -> list[Drift]:
    """Labels that are missing from a file, or far more or less frequent there, than chance explains.

    by_file: file → label → rows. Files are compared with all the others taken together.
    """
    whole: Counter[str] = Counter()
    for counts in by_file.values():
        whole.update(counts)
    found = []
    for file, counts in by_file.items():
        here_rows, rows = sum(counts.values()), whole.total()
        elsewhere_rows = rows - here_rows
        if not here_rows or not elsewhere_rows:
            continue
        for label, total in sorted(whole.items()):
            here = counts.get(label, 0)
            drift = Drift(file, label, here, here_rows, total - here, elsewhere_rows)
            if _is_shifted(drift, total / rows):
                found.append(drift)
    return found


def _is_shifted(drift: Drift, share: float) -> bool:
    if not drift.here:
        return share * drift.here_rows >= EXPECTED_ROWS
    if not drift.elsewhere:
        return share * drift.elsewhere_rows >= EXPECTED_ROWS
    here, elsewhere = drift.here / drift.here_rows, drift.elsewhere / drift.elsewhere_rows
    error = math.sqrt(share * (1 - share) * (1 / drift.here_rows + 1 / drift.elsewhere_rows))
    return abs(here - elsewhere) > CLEAR_SHIFT * error and not 0.5 <= here / elsewhere <= 2


def find_doubtful_labels(records: Sequence[Record], seed: int = 0) -> LabelDoubts:
    """Rows whose label a linear model on character n-grams, trained without them, confidently contradicts.

    A row counts where another label's probability reaches that label's own threshold and is the largest to do so: an
    entry off the diagonal of the confident joint (Northcutt et al. 2021, eq. 1 and 2), unless the model itself finds
    the given label more probable. Near-duplicates share a fold.
    Raises DataError where the answers are no labels or there are too few rows.
    """
    labels = label_set(records)
    if labels is None or len(records) < FEWEST_ROWS:
        raise DataError(
            f"The labels of {len(records):,} rows cannot be doubted: "
            + ("the answers are not labels." if labels is None else f"a model needs {FEWEST_ROWS}."),
            "Leave out --doubtful-labels.",
        )
    number = {label: index for index, label in enumerate(labels)}
    given = np.array([number[answer_text(record).strip()] for record in records], dtype=np.int64)
    texts = [prompt_text(record) for record in records]
    probabilities = out_of_fold(vectors(texts), given, clusters(texts), seed)
    suggested = confident_labels(probabilities, given)
    rows = np.flatnonzero((suggested >= 0) & (suggested != given))
    margins = probabilities[rows, given[rows]] - probabilities[rows, suggested[rows]]
    rows, margins = rows[margins < 0], margins[margins < 0]
    doubts = []
    for index in np.argsort(margins, kind="stable").tolist():
        record, row = records[rows[index]], int(rows[index])
        place = (record.origin.file, record.origin.line, parts(record)[-1].field)
        doubts.append(Doubt(*place, labels[given[row]], labels[suggested[row]], float(margins[index])))
    accuracy = float((probabilities.argmax(axis=1) == given).mean())
    return LabelDoubts(len(records), len(labels), accuracy, noise(suggested, given), tuple(doubts))


def confident_labels(probabilities: Probabilities, given: Codes) -> Codes:
    """The label that each row confidently has, −1 for none (Northcutt et al. 2021, eq. 1).

    A label's threshold is the mean probability of it among the rows that carry it.
    """
    count = probabilities.shape[1]
    sums = np.bincount(given, weights=probabilities[np.arange(len(given)), given], minlength=count)
    carried = np.bincount(given, minlength=count)
    threshold = np.where(carried > 0, sums / np.maximum(carried, 1), np.inf)
    reaching = np.where(probabilities >= threshold, probabilities, -1.0)
    best: Codes = reaching.argmax(axis=1).astype(np.int64)
    best[reaching.max(axis=1) < 0] = -1
    return best


def noise(confident: Codes, given: Codes) -> float:
    """The share of wrong labels that the calibrated confident joint tells (Northcutt et al. 2021, eq. 3)."""
    sure = confident >= 0
    count = int(max(given.max(), confident.max())) + 1
    joint: NDArray[np.float64] = np.zeros((count, count))
    np.add.at(joint, (given[sure], confident[sure]), 1.0)
    carried, counted = np.bincount(given, minlength=count), joint.sum(axis=1)
    right = np.divide(np.diag(joint), counted, out=np.ones(count), where=counted > 0)
    return float(1 - (right * carried).sum() / carried.sum())


def _bare(label: str) -> str:
    return "".join(letter for letter in normalise(label) if letter not in " -_.")
