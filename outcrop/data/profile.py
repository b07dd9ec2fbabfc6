"""What a data set holds, counted: lengths, labels, languages, repetition, and rows drawn as examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from outcrop.core.errors import DataError
from outcrop.core.results import JsonReady
from outcrop.core.seeds import derive
from outcrop.data.anonymise.patterns import find
from outcrop.data.boilerplate import Boilerplate, boilerplate
from outcrop.data.labels import label_set
from outcrop.data.language import language
from outcrop.data.neighbours import clusters
from outcrop.data.records import Record, answer_text, parts, prompt_text

BINS = 32
SHOWN_ROWS = 8
SHOWN_CHARACTERS = 1200
TOO_SHORT = "too short to tell"
GROUPS = ((1, "alone"), (2, "2 alike"), (5, "3 to 5 alike"), (20, "6 to 20 alike"))
MORE = "more than 20 alike"


@dataclass(frozen=True)
class Lengths(JsonReady):
    """Lengths in characters: summary, and rows between edges; the last bin holds the longest 1 % too."""

    shortest: int
    median: float
    mean: float
    percentile_95: float
    longest: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ShownPart(JsonReady):
    """A text of an example row, cut to what a page can show, personal data replaced by what it is."""

    field: str
    text: str


@dataclass(frozen=True)
class ShownRow(JsonReady):
    """An example row."""

    origin: str
    parts: tuple[ShownPart, ...]


@dataclass(frozen=True)
class Profile(JsonReady):
    """Figures of a data set. labels: None where answers are no labels; alike: rows by how many prompts are almost
    equal to theirs; boilerplate: of the answers, or of texts, None for labels."""

    rows: int
    kinds: dict[str, int]
    fields: tuple[str, ...]
    characters: int
    prompts: Lengths
    answers: Lengths | None
    labels: dict[str, int] | None
    languages: dict[str, int]
    alike: dict[str, int]
    boilerplate: Boilerplate | None
    samples: tuple[ShownRow, ...]

    @property
    def repeated(self) -> int:
        """Rows whose prompt is equal or almost equal to another row's."""
        return self.rows - self.alike.get(GROUPS[0][1], 0)


def profile(records: Sequence[Record], seed: int = 0) -> Profile:
    """Count what the records hold. seed: of the rows that are shown. Raises DataError for no records."""
    if not records:
        raise DataError("There are no usable rows to describe.", "Run outcrop data check.")
    texts = [prompt_text(record) for record in records]
    answers = [answer_text(record) for record in records]
    labels = Counter(answer.strip() for answer in answers) if label_set(records) else None
    spoken = Counter(language(f"{text} {answer}") or TOO_SHORT for text, answer in zip(texts, answers, strict=True))
    chosen = np.random.default_rng(derive(seed, "samples")).permutation(len(records))[:SHOWN_ROWS]
    return Profile(
        rows=len(records),
        kinds=dict(Counter(type(record).__name__.lower() for record in records)),
        fields=tuple(sorted({str(name) for record in records for name in record.fields})),
        characters=sum(len(part.text) for record in records for part in parts(record)),
        prompts=lengths([len(text) for text in texts]),
        answers=lengths([len(answer) for answer in answers]) if any(answers) else None,
        labels=dict(labels.most_common()) if labels else None,
        languages=dict(spoken.most_common()),
        alike=_alike(texts),
        boilerplate=None if labels else boilerplate(answers if any(answers) else texts),
        samples=tuple(_shown(records[row]) for row in sorted(chosen.tolist())),
    )


def lengths(values: Sequence[int]) -> Lengths:
    """The summary of lengths; bins reach to the 99th percentile."""
    array = np.array(values)
    width = max(1, int(np.ceil(np.quantile(array, 0.99) / BINS)))
    edges = np.arange(0, np.quantile(array, 0.99) + width + 1, width, dtype=float)
    counts, _ = np.histogram(np.minimum(array, edges[-1]), edges)
    return Lengths(
        int(array.min()), float(np.median(array)), float(array.mean()), float(np.quantile(array, 0.95)),
        int(array.max()), tuple(edges.tolist()), tuple(counts.tolist()),
    )  # fmt: skip


def masked(text: str) -> str:
    """The text with personal data and secrets replaced by their codes: a report must not spread them."""
    pieces, end = [], 0
    for finding in sorted(find(text), key=lambda each: each.start):
        if finding.start >= end:
            pieces += [text[end : finding.start], f"[{finding.type}]"]
            end = finding.end
    return "".join(pieces) + text[end:]


def _alike(texts: Sequence[str]) -> dict[str, int]:
    sizes = np.unique(clusters(texts), return_counts=True)[1]
    found: Counter[str] = Counter()
    for size, count in Counter(sizes.tolist()).items():
        found[next((name for most, name in GROUPS if size <= most), MORE)] += size * count
    return {name: found[name] for name in (*(name for _, name in GROUPS), MORE) if found[name]}


def _shown(record: Record) -> ShownRow:
    texts = []
    for part in parts(record):
        text = masked(part.text)
        cut = f"{text[:SHOWN_CHARACTERS]} … ({len(text):,} characters)" if len(text) > SHOWN_CHARACTERS else text
        texts.append(ShownPart(part.field, cut))
    return ShownRow(str(record.origin), tuple(texts))
