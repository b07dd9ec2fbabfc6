"""Repeated prompts in a stream of records: digests for equal ones, MinHash signatures for almost equal ones.

Memory per row: 16 bytes of digests, 500 of signature, and where the row stands.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from outcrop.data.minhash import Signatures, signatures
from outcrop.data.neighbours import THRESHOLD, Pairs, Rows, similar_pairs
from outcrop.data.origins import Origins
from outcrop.data.problems import Problems
from outcrop.data.records import Record, Text, answer_text, prompt_text
from outcrop.data.shingles import Shingler, normalise

BATCH_ROWS = 2000
BATCH_CHARACTERS = 1 << 22


class Repetition:
    """Reports equal prompts as they come, and almost equal ones at the end.

    `add_reference` takes the rows of the other file first, then `add` the rows that are checked.
    """

    def __init__(self, problems: Problems, threshold: float = THRESHOLD) -> None:
        self._problems = problems
        self._threshold = threshold
        self._rows: dict[int, int] = {}  # digest of prompt and answer → index
        self._prompts: dict[int, int] = {}  # digest of prompt → index of its first row
        self._references: dict[int, int] = {}
        self._origins = Origins()
        self._compared = array("Q")  # index of each row that has a signature
        self._answers = array("Q")  # digest of its answer
        self._reference_count = 0
        self._shingler: Shingler | None = None
        self._field = "prompt"
        self._batch: list[str] = []
        self._characters = 0
        self._signatures: list[Signatures] = []

    def add_reference(self, record: Record) -> None:
        """Take a row of the file that must not overlap."""
        prompt = normalise(prompt_text(record))
        key = _digest(prompt)
        if key not in self._references:
            self._references[key] = self._origins.append(record.origin)
            self._reference_count = len(self._origins)
            self._compare(prompt, answer_text(record), self._references[key])

    def add(self, record: Record) -> None:
        """Report the row if its prompt occurred before, in its own file or in the other."""
        prompt, answer = normalise(prompt_text(record)), answer_text(record).strip()
        key, whole = _digest(prompt), _digest(f"{prompt}\0{answer}")
        index = self._origins.append(record.origin)
        self._field = "text" if isinstance(record, Text) else "prompt"
        if key in self._references:
            self._report("train-test-overlap", index, f"also in {self._origins[self._references[key]]}")
        if whole in self._rows:
            self._report("exact-duplicate", index, f"the same as {self._origins[self._rows[whole]]}")
        elif key in self._prompts:
            self._report("conflicting-answers", index, f"answered otherwise in {self._origins[self._prompts[key]]}")
        self._rows.setdefault(whole, index)
        if key not in self._prompts:
            self._prompts[key] = index
            if key not in self._references:
                self._compare(prompt, answer, index)

    def finish(self, *, labels: bool = False) -> None:
        """Report almost equal prompts, each later row once, beside the earlier one that is most like it.

        labels: the answers are labels, so that almost equal prompts should have the same one.
        """
        self._flush()
        if not self._signatures:
            return
        rows = np.array(self._compared, dtype=np.int64)
        answers = np.array(self._answers, dtype=np.uint64)
        # Similarity to the nearest reference, to the nearest earlier row, to the nearest one answered otherwise.
        best = np.zeros((3, len(rows)))
        nearest = np.zeros((3, len(rows)), dtype=np.int64)
        for pairs in similar_pairs(np.concatenate(self._signatures), self._threshold):
            kind = (rows[pairs.left] >= self._reference_count).astype(np.int64)
            self._keep_nearest(rows, pairs, kind, best, nearest)
            if labels:
                other = (answers[pairs.left] != answers[pairs.right]) & (kind == 1)
                conflicts = Pairs(pairs.left[other], pairs.right[other], pairs.estimate[other], pairs.band)
                self._keep_nearest(rows, conflicts, np.full(int(other.sum()), 2), best, nearest)
        for side, code in enumerate(("near-overlap", "near-duplicate", "near-conflict")):
            for position in np.flatnonzero(best[side]):
                like = self._origins[int(nearest[side, position])]
                self._report(code, int(rows[position]), f"about {best[side, position]:.0%} like {like}")

    def _keep_nearest(self, rows: Rows, pairs: Pairs, kind: Rows, best: NDArray[np.float64], nearest: Rows) -> None:
        nearer = (rows[pairs.right] >= self._reference_count) & (pairs.estimate > best[kind, pairs.right])
        better = np.flatnonzero(nearer)[np.argsort(pairs.estimate[nearer])]  # of equal indices the last is kept
        best[kind[better], pairs.right[better]] = pairs.estimate[better]
        nearest[kind[better], pairs.right[better]] = rows[pairs.left[better]]

    def _compare(self, prompt: str, answer: str, index: int) -> None:
        self._compared.append(index)
        self._answers.append(_digest(answer.strip()))
        self._batch.append(prompt)
        self._characters += len(prompt)
        if len(self._batch) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if self._batch:
            # The first batch decides on the frame: a later one would make other shingles of the same text.
            self._shingler = self._shingler or Shingler.fit(self._batch)
            flat = self._shingler.flat(self._batch)
            self._signatures.append(signatures(flat.hashes, flat.offsets))
        self._batch, self._characters = [], 0

    def _report(self, code: str, index: int, message: str) -> None:
        self._problems.add(code, self._origins[index], message, self._field)


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
