"""Measure how hard the clean rows are for simple classifiers: python recipes/support-requests/difficulty.py"""

from __future__ import annotations

from collections import Counter

import numpy as np
from make import clean_requests
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline

SPLITS = 3
TEST_SHARE = 0.2


def classifiers() -> dict[str, Pipeline]:
    """From overlap of words with one known row to n-grams of characters."""
    characters = TfidfVectorizer(analyzer="char", ngram_range=(2, 6), sublinear_tf=True)
    words = TfidfVectorizer(sublinear_tf=True)
    return {
        "logistic regression, character 2- to 6-grams": make_pipeline(
            characters, LogisticRegression(C=30, max_iter=200)
        ),
        "logistic regression, words": make_pipeline(words, LogisticRegression(C=30, max_iter=200)),
        "nearest row by shared words (cosine)": make_pipeline(
            CountVectorizer(binary=True), KNeighborsClassifier(n_neighbors=1, metric="cosine")
        ),
    }


def main() -> None:
    """Print the mean accuracy of each classifier over SPLITS random splits, by row and by sentence of the bank."""
    requests = clean_requests()
    texts = np.array([request.message for request in requests])
    intents = np.array([request.intent for request in requests])
    sentences = np.array([request.sentence for request in requests])
    splitter = GroupShuffleSplit(SPLITS, test_size=TEST_SHARE, random_state=0)
    print(f"{len(texts)} clean rows; most frequent intent {Counter(intents).most_common(1)[0][1] / len(texts):.1%}")
    for split_name, groups in {"rows": np.arange(len(texts)), "sentences": sentences}.items():
        for name, classifier in classifiers().items():
            scores = []
            for train, test in splitter.split(texts, intents, groups):
                scores.append(classifier.fit(texts[train], intents[train]).score(texts[test], intents[test]))
            print(f"split by {split_name}, {name}: {np.mean(scores):.1%} ± {np.std(scores):.1%}")


if __name__ == "__main__":
    main()
