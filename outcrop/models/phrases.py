"""Phrases: runs of tokens that a model reads and writes as one, learnt as merges are (Sennrich et al. 2016).

Byte-pair encoding (arXiv 1508.07909, §3.2) goes on where the tokenizer's own ended, across words, on ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

LETTERS = 0xF0000
"""Tokens are code points from here on, of private use, while merges are learnt."""

GONE = -1
"""In place of a token that is a part of the phrase before it."""

Run = tuple[int, ...]
Merge = tuple[int, int, int]
"""Two tokens, either may be a phrase, and the phrase of both, numbered in the order in which they are merged."""


def learn_phrases(answers: Sequence[Sequence[int]], most: int, fewest: int) -> list[tuple[Run, Run]]:
    """Which runs of tokens to join with which, the commonest first: `most` of them, each seen at least `fewest`
    times in the answers. A run is one token, or two runs that were joined before."""
    distinct = sorted({token for ids in answers for token in ids})
    letter = {token: chr(LETTERS + number) for number, token in enumerate(distinct)}
    learner = Tokenizer(BPE())
    trainer = BpeTrainer(vocab_size=len(distinct) + most, min_frequency=fewest, show_progress=False,
                         initial_alphabet=list(letter.values()))  # fmt: skip
    learner.train_from_iterator(["".join(letter[token] for token in ids) for ids in answers], trainer)

    def run(text: str) -> Run:
        return tuple(distinct[ord(each) - LETTERS] for each in text)

    return [(run(left), run(right)) for left, right in json.loads(learner.to_str())["model"]["merges"]]


def merged(ids: Iterable[int], merges: Mapping[tuple[int, int], int]) -> list[int]:
    """The ids with pairs replaced by their phrases: the phrase with the lowest number first, and from the left."""
    found = list(ids)
    before, after = list(range(-1, len(found) - 1)), list(range(1, len(found) + 1))
    waiting = [(merges[pair], place) for place, pair in enumerate(pairwise(found)) if pair in merges]
    heapify(waiting)
    while waiting:
        made, place = heappop(waiting)
        right = after[place]
        if right == len(found) or merges.get((found[place], found[right])) != made:
            continue  # one of the two has become a part of another phrase
        found[place], found[right], after[place] = made, GONE, after[right]
        if after[place] < len(found):
            before[after[place]] = place
        for start in (before[place], place):
            end = after[start] if start >= 0 else len(found)
            if end < len(found) and (pair := (found[start], found[end])) in merges:
                heappush(waiting, (merges[pair], start))
    return [token for token in found if token != GONE]


def spelled(merges: Iterable[Merge]) -> dict[int, Run]:
    """The run of plain tokens that each phrase is."""
    runs: dict[int, Run] = {}
    for left, right, made in merges:
        runs[made] = runs.get(left, (left,)) + runs.get(right, (right,))
    return runs
