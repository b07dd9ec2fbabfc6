"""De-duplicate: rows that are equal after normalisation or almost the same; a stated rule says which stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from outcrop.core.spec import Spec, parameter
from outcrop.data.records import Record
from outcrop.data.steps.alike import CROWD, Likeness, MeasureAlike, On, Rows, Survivors
from outcrop.data.steps.columns import Columns
from outcrop.data.steps.step import Decision, Measure, SetStep, Verdict


class DedupeSpec(Spec):
    """What counts as the same, and which of equal rows stays."""

    on: On = parameter("both", "what is compared: prompts, completions, or both, each of which must be alike")
    near: float | None = parameter(
        0.75,
        "Jaccard similarity of the words from which rows are almost the same; null drops equal rows only",
        gt=0.5,
        le=1,
        source="one word changed in ten, rounded, is 0.76 at the least",
    )
    numbers: bool = parameter(True, "rows whose words with digits differ are never almost the same")
    survivor: Literal["first", "longest"] = parameter(
        "first", "which of equal rows stays: the first in the order of the files, or the longest"
    )


class Dedupe(SetStep[DedupeSpec]):
    """Drops rows that repeat an earlier one."""

    spec_type = DedupeSpec
    reasons: ClassVar = {
        "exact-duplicate": "the same as a row that stays, after NFKC, case folding and white space",
        "near-duplicate": "almost the same as a row that stays",
    }
    notes: ClassVar = {
        "crowded": f"looks into a bucket of more than {CROWD} kept rows, of which only the latest were compared"
    }

    def measure(self, sample: Sequence[Record]) -> Measure:
        """Keys, bags of words and signatures."""
        return MeasureAlike.fit(self.spec.on, sample, near=self.spec.near is not None)

    def decide(self, columns: Columns) -> Decision:
        """The rows to drop. Rows are taken in the order of preference; each that is like a kept one is dropped."""
        size = columns.joined("size")
        rank = np.argsort(-size, kind="stable") if self.spec.survivor == "longest" else np.arange(len(size))
        exact = dict(_repeated(columns.joined("key"), rank))
        found = [(row, "exact-duplicate", like, "") for row, like in exact.items()]
        notes: dict[str, int] = {}
        if self.spec.near is not None and len(size):
            dropped = np.zeros(len(size), dtype=bool)
            dropped[list(exact)] = True
            likeness = Likeness(columns, self.spec.near, numbers=self.spec.numbers)
            survivors = Survivors(columns.joined("bands"), likeness.best)
            order = rank[~dropped[rank]].tolist()
            for row, match in survivors.drops(order, lambda done: columns.tell("comparing", done, len(order))):
                found.append((row, "near-duplicate", match.row, f"{match.similarity:.0%} like"))
            notes = {"crowded": survivors.crowded} if survivors.crowded else {}
        verdict = Verdict.of(_settled(found))
        return Decision(verdict, notes, _figures(verdict, self.spec))


def _repeated(keys: Any, rank: Rows) -> Iterator[tuple[int, int]]:
    """Each row whose key a preferred row has, and that row."""
    ranked = keys[rank]
    order = np.argsort(ranked, kind="stable")
    first = np.concatenate([[True], ranked[order][1:] != ranked[order][:-1]])
    leader = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    rows, leaders = rank[order], rank[order][leader]
    yield from zip(rows[~first].tolist(), leaders[~first].tolist(), strict=True)


def _settled(found: Sequence[tuple[int, str, int, str]]) -> list[tuple[int, str, int, str]]:
    """The same, exact copies of a row that is dropped itself pointing to the row that stays."""
    like = {row: other for row, _, other, _ in found}
    return [(row, code, like.get(other, other), detail) for row, code, other, detail in found]


def _figures(verdict: Verdict, spec: DedupeSpec) -> dict[str, Any]:
    sizes = Counter(verdict.like.tolist())
    by_rows = Counter(count + 1 for count in sizes.values())
    similar = "" if spec.near is None else f", or its words have a Jaccard similarity of at least {spec.near:g}"
    return {
        "rule": f"The {spec.survivor} row of a cluster stays; every other equals it after normalisation{similar}.",
        "clusters": len(sizes),
        "clusters_by_rows": {str(rows): by_rows[rows] for rows in sorted(by_rows)[:30]},
        "largest_cluster_rows": max(by_rows, default=1),
    }
