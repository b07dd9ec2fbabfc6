"""Texts as tf-idf vectors of character n-grams, and a linear classifier on them: no torch, seconds for 10,000 rows.

scikit-learn comes with the extra "train"; MissingDependency says so where it is absent.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outcrop.core.errors import MissingDependency
from outcrop.data.assignment import Codes, folds

FOLDS = 5
READ_CHARACTERS = 2000
"""The beginning of a text that is looked at; more of a document says little new of its kind."""

FEATURES = 1 << 16
EPOCHS = 10
REGULARISATION = 1e-6
"""α of the averaged stochastic gradient descent; on Banking77 the accuracy is flat from 1e-7 to 1e-5."""

Matrix = Any
"""A scipy.sparse CSR matrix [rows, features]; rows have length 1."""

Probabilities = NDArray[np.float64]


def vectors(texts: Sequence[str]) -> Matrix:
    """The texts as rows of one matrix, tf-idf of character 2- to 4-grams within words, logarithmic in the count."""
    vectorizer = _sklearn("feature_extraction.text").TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=FEATURES, dtype=np.float32,
        min_df=2 if len(texts) >= 100 else 1,
    )  # fmt: skip
    return vectorizer.fit_transform([text[:READ_CHARACTERS] + " " for text in texts])


def out_of_fold(
    matrix: Matrix, classes: Codes, bonds: Codes, seed: int, regularisation: float = REGULARISATION
) -> Probabilities:
    """For each row the probabilities of all classes [rows, classes], from a model trained without its fold.

    classes: 0 … k − 1; bonds: rows with an equal one share a fold, or a copy in training would give the answer away.
    """
    found = np.zeros((len(classes), int(classes.max()) + 1))
    fold = folds(classes, bonds, FOLDS, seed)
    for number in range(FOLDS):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        known = np.unique(classes[outside])
        if not len(inside):
            continue
        if len(known) < 2:
            found[np.ix_(inside, known)] = 1.0
            continue
        model = _fitted(matrix[outside], classes[outside], seed, regularisation)
        found[np.ix_(inside, known)] = model.predict_proba(matrix[inside])
    return found


def _fitted(matrix: Matrix, classes: Codes, seed: int, regularisation: float) -> Any:
    """A logistic regression, one class against the rest, trained for a fixed number of epochs."""
    model = _sklearn("linear_model").SGDClassifier(
        loss="log_loss", alpha=regularisation, max_iter=EPOCHS, tol=None, average=True, random_state=seed % (1 << 32)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the number of epochs is fixed, so that it is no sign of trouble
        return model.fit(matrix, classes)


def _sklearn(module: str) -> Any:
    try:
        import sklearn  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependency.of("scikit-learn", "train", "A classifier of texts") from error
    from importlib import import_module

    return import_module(f"sklearn.{module}")
