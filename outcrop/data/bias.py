"""Bias of a data set as measured tables: of selection, sampling, labels and history; and what they leave open."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from outcrop.core.errors import DataError
from outcrop.core.results import JsonReady
from outcrop.core.statistics import holm, newcombe, proportion, two_proportions
from outcrop.data.label_quality import LabelDoubts
from outcrop.data.labels import label_set
from outcrop.data.neighbours import clusters
from outcrop.data.records import Record, answer_text, prompt_text
from outcrop.data.representative import Representativeness
from outcrop.data.terms import Terms

Kind = Literal["selection", "sampling", "label", "historical"]
Unit = Literal["name", "count", "share", "points", "p", "number"]

MOST_SLICES = 20
"""Values of a field that are told apart, the most frequent ones."""

MOST_OUTCOMES = 12
"""Rows of the table of outcomes, the clearest differences first."""

FEWEST_ROWS = 100
"""Rows of a slice below which a score of 50 % on it is known to ± 10 points at best."""

FEWEST_EXPECTED = 1.0
"""Rows to be expected in every cell of a comparison for its test to hold (Campbell 2007)."""

SIGNIFICANT = 0.05
REFUSAL = re.compile(
    r"\bas an ai\b|\bi(?:'m| am) (?:sorry|unable|not able)\b"
    r"|\bi (?:cannot|can't|can not|won't) (?:help|assist|provide|do)",
    re.IGNORECASE,
)
REST, MISSING = "(others)", "(missing)"


class Column(NamedTuple):
    """A column of a table and what its values are: shares are 0 to 1, points differences of shares."""

    name: str
    unit: Unit


@dataclass(frozen=True)
class BiasTable(JsonReady):
    """One kind of bias, measured. rows: values in the order of the columns, None where nothing was measured.

    concluded, open: what the table says and what it cannot say, in sentences.
    """

    kind: Kind
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    concluded: tuple[str, ...]
    open: tuple[str, ...]


class Slice(NamedTuple):
    """Rows that share a value of a field, or name a group of people. kind: the field, or the kind of group."""

    kind: str
    name: str
    rows: frozenset[int]

    @property
    def title(self) -> str:
        """What it is called in tables."""
        return f"{self.kind}: {self.name}"


def slices(records: Sequence[Record], fields: Sequence[str], terms: Terms) -> list[Slice]:
    """The rows by each value of the fields, and by the groups that their prompts name.

    Raises DataError for a field that no row has.
    """
    found = []
    for field in fields:
        if not any(field in record.fields for record in records):
            known = sorted({str(name) for record in records for name in record.fields})
            raise DataError(f"No row has the field {field!r}.", f"Fields of these rows: {', '.join(known) or 'none'}.")
        values: dict[str, set[int]] = defaultdict(set)
        for row, record in enumerate(records):
            values[str(record.fields.get(field, MISSING))].add(row)
        ranked = sorted(values, key=lambda value: (-len(values[value]), value))
        found += [Slice(field, value, frozenset(values[value])) for value in ranked[:MOST_SLICES]]
        rest = [values[value] for value in ranked[MOST_SLICES:]]
        found += [Slice(field, REST, frozenset(set().union(*rest)))] if rest else []
    named: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row, record in enumerate(records):
        for kind, groups in terms.groups(prompt_text(record)).items():
            for group in groups:
                named[kind, group].add(row)
    return found + [Slice(kind, group, frozenset(rows)) for (kind, group), rows in sorted(named.items())]


def report(
    records: Sequence[Record],
    parts: Sequence[Slice],
    compared: Representativeness | None = None,
    doubts: LabelDoubts | None = None,
    expected: Mapping[str, float] | None = None,
) -> tuple[BiasTable, ...]:
    """The four tables. compared: with a sample of production; doubts: of the labels; expected: label → share."""
    if not records:
        raise DataError("There are no rows to look for bias in.", "Give rows.")
    return (_selection(compared), _sampling(records, parts, expected), _labels(records, parts, doubts),
            _history(records, parts))  # fmt: skip


def _selection(compared: Representativeness | None) -> BiasTable:
    columns = (Column("aspect", "name"), Column("distance", "number"), Column("low", "number"),
               Column("high", "number"), Column("by chance", "number"), Column("p", "p"))  # fmt: skip
    title = "Selection: are these the inputs that production brings?"
    if compared is None:
        open_ = ("Not measured: without a sample of production inputs nothing is known. Give one with --production.",)
        return BiasTable("selection", title, columns, (), (), open_)
    auc, far = compared.separability, compared.far
    rows: list[tuple[Any, ...]] = [("told apart, AUC", auc.value, auc.low, auc.high, 0.5, None)]
    for each in compared.differences:
        found = each.divergence
        rows.append((f"{each.aspect}, bits", found.value, found.low, found.high, each.by_chance, each.p))
    rows.append(("far from training, share", far.value, far.low, far.high, 0.05, None))
    left = (
        "Inputs that production does not bring because users gave up on them are in neither sample.",
        "The sample of production is taken as it is: its own period and filters are not known here.",
    )
    return BiasTable("selection", title, columns, tuple(rows), compared.conclusions, left)


def _sampling(
    records: Sequence[Record], parts: Sequence[Slice], expected: Mapping[str, float] | None
) -> BiasTable:
    columns = (Column("label or slice", "name"), Column("rows", "count"), Column("share", "share"),
               Column("low", "share"), Column("high", "share"), Column("expected", "share"))  # fmt: skip
    labels = label_set(records)
    counts = Counter(answer_text(record).strip() for record in records) if labels else Counter[str]()
    prior = expected or {label: 1 / len(counts) for label in counts}
    said, table = [], []
    for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        share = proportion(count, len(records))
        table.append((label, count, share.value, share.low, share.high, prior.get(label)))
    if labels:
        entropy = -sum(count / len(records) * math.log2(count / len(records)) for count in counts.values())
        said.append(f"{len(labels)} labels are as diverse as {2**entropy:.1f} equally frequent ones.")
        outside = [row[0] for row in table if row[5] is not None and not row[3] <= row[5] <= row[4]]
        if expected:
            said.append(f"{len(outside)} labels lie outside their expected share: {_listed(outside)}.")
            said += [f"No rows for expected labels: {_listed(sorted(set(expected) - set(counts)))}."] * bool(
                set(expected) - set(counts)
            )
    for each in parts:
        share = proportion(len(each.rows), len(records))
        table.append((each.title, len(each.rows), share.value, share.low, share.high, None))
    small = [each.title for each in parts if len(each.rows) < FEWEST_ROWS]
    if small:
        said.append(f"Fewer than {FEWEST_ROWS} rows, so a score on them is ± 10 points or worse: {_listed(small)}.")
    open_ = ["Which shares are right is not in the data: equal shares are the yardstick unless others are declared."]
    if not parts:
        open_.append("No slices: no field was named, and no prompt names a group of people.")
    return BiasTable("sampling", "Sampling: how many rows of each?", columns, tuple(table), tuple(said), tuple(open_))


def _labels(records: Sequence[Record], parts: Sequence[Slice], doubts: LabelDoubts | None) -> BiasTable:
    columns = (Column("slice", "name"), Column("rows", "count"), Column("in conflict", "share"),
               Column("low", "share"), Column("high", "share"), Column("contradicted", "share"))  # fmt: skip
    title = "Labels: are they right alike for all?"
    if label_set(records) is None:
        return BiasTable("label", title, columns, (), (), ("The answers are no labels, so none can be in conflict.",))
    conflict = _conflicts(records)
    doubtful = {(doubt.file, doubt.line) for doubt in doubts.doubts} if doubts else set()
    doubted = {row for row, record in enumerate(records) if (record.origin.file, record.origin.line) in doubtful}
    said, table = [], []
    for each in (Slice("all", "rows", frozenset(range(len(records)))), *parts):
        hits = len(each.rows & conflict)
        share = proportion(hits, len(each.rows))
        doubt = len(each.rows & doubted) / len(each.rows) if doubts else None
        table.append((each.title, len(each.rows), share.value, share.low, share.high, doubt))
    for each, p in _tested(parts, conflict, len(records)):
        said.append(f"Labels of {each.title} are in conflict more or less often than others (p = {p:.3g}, Holm).")
    if doubts:
        said.append(
            f"A model of the other rows, right on {doubts.accuracy:.1%}, contradicts {len(doubts.doubts):,} labels; by "
            f"confident learning at most about {doubts.noise:.1%} are wrong."
        )
    open_ = (
        "In conflict are rows of almost equal prompts with different labels; a prompt that stands alone cannot be.",
        "An error that all annotators share shows in no table. Two people should label a sample again.",
    )
    return BiasTable("label", title, columns, tuple(table), tuple(said), open_)


def _conflicts(records: Sequence[Record]) -> set[int]:
    """Rows whose cluster of almost equal prompts holds different labels."""
    near = clusters([prompt_text(record) for record in records])
    held: dict[int, set[str]] = defaultdict(set)
    for row, cluster in enumerate(near.tolist()):
        held[cluster].add(answer_text(records[row]).strip())
    return {row for row, cluster in enumerate(near.tolist()) if len(held[cluster]) > 1}


def _history(records: Sequence[Record], parts: Sequence[Slice]) -> BiasTable:
    columns = (Column("slice", "name"), Column("outcome", "name"), Column("rate", "share"),
               Column("rate of others", "share"), Column("difference", "points"), Column("low", "points"),
               Column("high", "points"), Column("ratio", "number"), Column("p, Holm", "p"))  # fmt: skip
    title = "History: do outcomes differ between groups?"
    outcomes = _outcomes(records)
    found = []
    for each in parts:
        others = len(records) - len(each.rows)
        for outcome, rows in outcomes.items() if others and each.name not in (REST, MISSING) else ():
            here, there = len(rows & each.rows), len(rows - each.rows)
            rarer = min(here + there, len(records) - here - there)
            if rarer * min(len(each.rows), others) < FEWEST_EXPECTED * len(records):
                continue
            found.append((each, outcome, (here, len(each.rows)), (there, others)))
    adjusted = holm([two_proportions(first, second) for *_, first, second in found])
    table, said = [], []
    for place in sorted(range(len(found)), key=lambda index: adjusted[index])[:MOST_OUTCOMES]:
        each, outcome, first, second = found[place]
        gap = newcombe(first, second)
        rates = (first[0] / first[1], second[0] / second[1])
        ratio = rates[0] / rates[1] if rates[1] else None
        table.append((each.title, outcome, *rates, gap.value, gap.low, gap.high, ratio, adjusted[place]))
    clear = [row for row in table if row[-1] < SIGNIFICANT]
    said.append(
        f"{len(clear)} of {len(found):,} tested pairs of slice and outcome differ (p < {SIGNIFICANT:g} after Holm): "
        + (_listed([f"{row[0]} / {row[1]} {100 * row[4]:+.1f} points" for row in clear]) if clear else "none")
        + "."
        if found
        else "No slice and outcome have enough rows to be compared."
    )
    open_ = (
        "A difference may be true of the world, come from how rows were chosen, or repeat past decisions.",
        "The table cannot tell which; a model trained on these rows will learn it in any case.",
        "Groups are found by words and fields: people whom no word names are in none of them.",
    )
    return BiasTable("historical", title, columns, tuple(table), tuple(said), open_)


def _outcomes(records: Sequence[Record]) -> dict[str, set[int]]:
    """Rows of each outcome: its label, or whether the answer refuses, or is of the shortest or longest quarter."""
    found: dict[str, set[int]] = defaultdict(set)
    if label_set(records):
        for row, record in enumerate(records):
            found[answer_text(record).strip()].add(row)
        return found
    lengths = np.array([len(answer_text(record)) for record in records])
    quarters = np.quantile(lengths, [0, 0.25, 0.75, 1])
    for (low, high), name in zip(pairwise(quarters), ("short answer", "", "long answer"), strict=True):
        if name and low < high:
            inside = (lengths <= high) if name == "short answer" else (lengths > low)
            found[name] = set(np.flatnonzero(inside).tolist())
    found["refusal"] = {row for row, record in enumerate(records) if REFUSAL.search(answer_text(record))}
    return {name: rows for name, rows in found.items() if rows}


def _tested(parts: Sequence[Slice], hits: set[int], rows: int) -> list[tuple[Slice, float]]:
    """The slices whose share of hits differs from that of the other rows."""
    rarer = min(len(hits), rows - len(hits))
    large = [
        each for each in parts if rarer * min(len(each.rows), rows - len(each.rows)) >= FEWEST_EXPECTED * rows
    ]
    found = [
        two_proportions((len(each.rows & hits), len(each.rows)), (len(hits - each.rows), rows - len(each.rows)))
        for each in large
    ]
    return [(each, p) for each, p in zip(large, holm(found), strict=True) if p < SIGNIFICANT]


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"
