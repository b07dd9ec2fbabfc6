"""Whether training rows are like the inputs of production: how far apart, what is missing, what would mend it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from outcrop.core.errors import DataError
from outcrop.core.results import BoundedEstimate, JsonReady
from outcrop.core.seeds import derive
from outcrop.core.spec import Spec, parameter
from outcrop.core.statistics import permutation_test, proportion, two_sample_bootstrap
from outcrop.data.distributions import Floats, aspects, divergence, one_hot, separability, words
from outcrop.data.labels import label_set
from outcrop.data.neighbours import clusters
from outcrop.data.ngrams import Matrix, out_of_fold, vectors
from outcrop.data.records import Record, answer_text, prompt_text

FEWEST_ROWS = 30
SCORE_BINS = 200
EXPECTED_FAR = 0.05
"""Share of the training rows that are as far from all others as a production row must be to count as far."""

SAME_KIND = 0.2
"""Cosine from which two far rows are shown as one kind."""

SHOWN_KINDS, SHOWN_ROWS, SHOWN_WORDS = 10, 5, 6
CHUNK_ROWS = 1000
REGULARISATION = 3e-4
"""Of the classifier of training against production: with a tenth of it weights overshoot, with ten times they idle."""

SIGNIFICANT = 0.01


class CompareSpec(Spec):
    """How samples are compared."""

    seed: int = parameter(0, "of samples and resamples", ge=0)
    sample: int = parameter(10_000, "most rows of either side that are compared, drawn at random", unit="rows", ge=100)
    resamples: int = parameter(500, "of bootstrap and permutations", ge=100)
    clip: float = parameter(10.0, "largest importance weight, and its inverse the smallest", ge=1)


@dataclass(frozen=True)
class Difference(JsonReady):
    """One aspect: its Jensen–Shannon divergence in bits, what chance alone stays below, p of chance, and the
    divergence once training rows have their importance weights."""

    aspect: str
    divergence: BoundedEstimate
    by_chance: float
    p: float
    reweighted: float


@dataclass(frozen=True)
class Row(JsonReady):
    """A row as an example."""

    file: str
    line: int
    text: str


@dataclass(frozen=True)
class MissingKind(JsonReady):
    """Production rows far from every training row and like each other. words: what they say more than training."""

    rows: int
    share: float
    words: tuple[str, ...]
    examples: tuple[Row, ...]


@dataclass(frozen=True)
class Weights(JsonReady):
    """Importance weights of the training rows. effective_rows: (Σw)² / Σw² (Kish 1965); clipped: rows at a bound;
    weights: of the training rows that were compared, with mean 1; places: which rows these are, from 0."""

    rows: int
    effective_rows: float
    clipped: int
    clip: float
    places: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class LabelShare(JsonReady):
    """A label's share in training and production, and the share of its training rows to keep for a like sample."""

    label: str
    training: float
    production: float
    keep: float


@dataclass(frozen=True)
class Representativeness(JsonReady):
    """Training against production rows; what was compared is a sample where there are more rows.

    separability: AUC of a classifier told apart by, 0.5 where nothing tells them apart; far: share of production rows
    farther from every training row than 95 % of training rows are from each other.
    """

    training_rows: int
    production_rows: int
    compared: tuple[int, int]
    separability: BoundedEstimate
    differences: tuple[Difference, ...]
    far: BoundedEstimate
    missing: tuple[MissingKind, ...]
    weights: Weights
    sampling: tuple[LabelShare, ...]
    conclusions: tuple[str, ...]


def compare(
    training: Sequence[Record], production: Sequence[Record], spec: CompareSpec | None = None
) -> Representativeness:
    """Measure how training rows differ from a sample of production inputs. Answers of production are optional.

    Raises DataError for fewer than 30 rows on a side, MissingDependency without scikit-learn.
    """
    spec = spec or CompareSpec()
    for name, side in (("training", training), ("production", production)):
        if len(side) < FEWEST_ROWS:
            raise DataError(f"{len(side)} {name} rows tell no distribution.", f"Give {FEWEST_ROWS} or more.")
    places = _drawn(len(training), spec, "training")
    first = [training[row] for row in places]
    second = [production[row] for row in _drawn(len(production), spec, "production")]
    texts = [prompt_text(record) for record in (*first, *second)]
    matrix = vectors(texts)
    domain = np.repeat([0, 1], [len(first), len(second)])
    chance = out_of_fold(matrix, domain, clusters(texts), spec.seed, REGULARISATION)[:, 1]
    auc = _separability(chance, domain, spec)
    weights = _weights(chance[: len(first)], len(first) / len(second), tuple(places), spec)
    found = tuple(_difference(name, *sides, weights, spec) for name, sides in aspects(first, second).items())
    nearest = _nearest(matrix[len(first) :], matrix[: len(first)])
    usual = float(np.quantile(_nearest(matrix[: len(first)], None), EXPECTED_FAR))
    rows = np.flatnonzero(nearest < usual)
    far = proportion(len(rows), len(second))
    missing = _kinds(rows, matrix[len(first) :], first, second)
    sampling = _sampling(first, second)
    result = Representativeness(
        len(training), len(production), (len(first), len(second)), auc, found, far, missing, weights, sampling, ()
    )
    return Representativeness(**(vars(result) | {"conclusions": _conclusions(result)}))


def _drawn(rows: int, spec: CompareSpec, side: str) -> list[int]:
    """The rows that are compared, ascending."""
    if rows <= spec.sample:
        return list(range(rows))
    chosen = np.random.default_rng(derive(spec.seed, side)).choice(rows, spec.sample, replace=False)
    return [int(row) for row in np.sort(chosen)]


def _separability(chance: Floats, domain: Any, spec: CompareSpec) -> BoundedEstimate:
    edges = np.unique(np.quantile(chance, np.linspace(0, 1, SCORE_BINS + 1)[1:-1]))
    code = np.searchsorted(edges, chance)
    first, second = (one_hot(code[domain == side], len(edges) + 1) for side in (0, 1))
    return two_sample_bootstrap(first, second, separability, seed=spec.seed, resamples=spec.resamples)


def _weights(chance: Floats, ratio: float, places: tuple[int, ...], spec: CompareSpec) -> Weights:
    """p(production | x) / p(training | x) · training rows / production rows (Bickel et al. 2009), clipped, mean 1."""
    odds = chance / np.maximum(1 - chance, 1e-12) * ratio
    raw = odds.clip(1 / spec.clip, spec.clip)
    clipped = int(((odds >= spec.clip) | (odds <= 1 / spec.clip)).sum())
    effective = float(raw.sum() ** 2 / (raw**2).sum())
    weights = tuple((raw / raw.mean()).round(4).tolist())
    return Weights(len(raw), effective, clipped, spec.clip, places, weights)


def _difference(aspect: str, first: Any, second: Any, weights: Weights, spec: CompareSpec) -> Difference:
    estimate = two_sample_bootstrap(first, second, divergence, seed=spec.seed, resamples=spec.resamples)
    usual, p = permutation_test(first, second, divergence, seed=spec.seed, permutations=spec.resamples)
    weighted = np.array(weights.weights)[None, :] @ first
    after = float(divergence(weighted, np.ones((1, second.shape[0])) @ second)[0])
    return Difference(aspect, estimate, usual, p, after)


def _nearest(rows: Matrix, others: Matrix | None) -> Floats:
    """The cosine of each row with the nearest of the others; without others, with the nearest other one of the rows."""
    found = np.zeros(rows.shape[0])
    against = (rows if others is None else others).T.tocsr()
    for start in range(0, rows.shape[0], CHUNK_ROWS):
        similar = (rows[start : start + CHUNK_ROWS] @ against).toarray()
        if others is None:
            similar[np.arange(len(similar)), start + np.arange(len(similar))] = -1.0
        found[start : start + CHUNK_ROWS] = similar.max(axis=1)
    return found


def _kinds(
    rows: Any, matrix: Matrix, training: Sequence[Record], production: Sequence[Record]
) -> tuple[MissingKind, ...]:
    """The far rows by kind: the row with the most like it, these, and again without them; single rows are left out."""
    usual = Counter(word for record in training for word in set(words(prompt_text(record))))
    far = matrix[rows]
    free = np.ones(len(rows), dtype=bool)
    found: list[MissingKind] = []
    like = (far @ far.T).toarray() >= SAME_KIND if len(rows) else np.zeros((0, 0), dtype=bool)
    while len(found) < SHOWN_KINDS and free.any():
        counts = (like & free).sum(axis=1) * free
        centre = int(counts.argmax())
        members = np.flatnonzero(like[centre] & free)
        if len(members) < 2:
            break
        free[members] = False
        records = [production[row] for row in rows[members].tolist()]
        said = Counter(word for record in records for word in set(words(prompt_text(record))))
        excess = {word: count * math.log((count / len(records)) / ((usual[word] + 1) / (len(training) + 1)))
                  for word, count in said.items() if count > 1}  # fmt: skip
        ranked = sorted(excess, key=lambda word: (-excess[word], word))[:SHOWN_WORDS]
        examples = tuple(Row(each.origin.file, each.origin.line, prompt_text(each)) for each in records[:SHOWN_ROWS])
        found.append(MissingKind(len(members), len(members) / len(production), tuple(ranked), examples))
    return tuple(found)


def _sampling(training: Sequence[Record], production: Sequence[Record]) -> tuple[LabelShare, ...]:
    """How many rows of each label to keep so that the mix of labels is production's; none without labels."""
    if not (label_set(training) and label_set(production)):
        return ()
    have, want = (Counter(answer_text(record).strip() for record in side) for side in (training, production))
    rate = {label: (want[label] / want.total()) / (have[label] / have.total()) for label in have}
    most = max(rate.values()) or 1.0
    return tuple(
        LabelShare(label, have[label] / have.total(), want[label] / want.total(), rate.get(label, 0.0) / most)
        for label in sorted(have | want)
    )


def _conclusions(found: Representativeness) -> tuple[str, ...]:
    """What can be said, and what cannot, in sentences."""
    auc = found.separability
    interval = f"AUC {auc.value:.2f}, 95 % interval {auc.low:.2f} to {auc.high:.2f}"
    said = []
    if auc.low > 0.5:
        said.append(f"Production inputs can be told from training rows ({interval}): the training rows differ.")
    else:
        said.append(f"No classifier of ours tells production from training ({interval}). Other differences may exist.")
    said += [
        f"Difference of {each.aspect}: {each.divergence.value:.3f} bits ({each.divergence.low:.3f} to "
        f"{each.divergence.high:.3f}); chance stays below {each.by_chance:.3f}."
        for each in found.differences
        if each.p < SIGNIFICANT
    ]
    if found.far.low > EXPECTED_FAR:
        said.append(
            f"{found.far.value:.1%} of production rows ({found.far.low:.1%} to {found.far.high:.1%}) are far from "
            f"every training row, where {EXPECTED_FAR:.0%} is usual: collect rows of these kinds; no weighting helps."
        )
    absent = [each.label for each in found.sampling if each.production > 0 and each.training == 0]
    if absent:
        said.append(f"Labels that production has and training lacks: {', '.join(absent)}.")
    if auc.low > 0.5:
        said.append(
            f"Weighting the training rows by the classifier leaves {found.weights.effective_rows:,.0f} effective "
            f"of {found.weights.rows:,} rows, clipped at {found.weights.clip:g}; it mends shares, not missing kinds."
        )
    return tuple(said)
