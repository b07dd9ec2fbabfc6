"""The check of a data set: every defect of every file in one pass, in memory that grows only by digests."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from outcrop.core.errors import UsageError, did_you_mean
from outcrop.core.events import Listener, ignore
from outcrop.core.spec import Spec, parameter
from outcrop.data.content import check_answer, check_length, check_personal, check_tokens
from outcrop.data.label_quality import LabelDoubts, drifts, variants
from outcrop.data.labels import LONGEST_LABEL, LabelCounter
from outcrop.data.language import language
from outcrop.data.mapping import Mapping as ColumnMapping
from outcrop.data.neighbours import THRESHOLD
from outcrop.data.origins import Origins
from outcrop.data.problems import Problems, Site
from outcrop.data.reading import Paths, files, read
from outcrop.data.records import Origin, Record, answer_text, parts, prompt_text
from outcrop.data.repetition import Repetition

PROGRESS_ROWS = 1000
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


class CheckSpec(Spec):
    """What a data set is held to."""

    labels: tuple[str, ...] | None = parameter(None, "the labels that answers may be; default: found in the data")
    max_chars: int | None = parameter(None, "longest row", unit="characters", ge=1)
    max_tokens: int | None = parameter(None, "longest row, where tokens can be counted", unit="tokens", ge=1)
    special_tokens: tuple[str, ...] = parameter((), "the base model's own control tokens, beside the usual ones")
    min_rows: int = parameter(32, "fewest rows", unit="rows", ge=0, source="Bedrock: Claude 3 Haiku wants 32")
    min_rows_per_label: int = parameter(8, "fewest rows of a label", unit="rows", ge=0)
    similarity: float = parameter(
        THRESHOLD, "Jaccard similarity from which prompts count as almost equal", gt=0.5, le=1
    )


@dataclass(frozen=True)
class CheckResult:
    """What was found: `rows` are the usable records, `labels` the rows per label where answers are labels.

    doubts: labels that a model contradicts, where that was asked for.
    """

    files: tuple[str, ...]
    rows: int
    kinds: dict[str, int]
    characters: int
    labels: dict[str, int] | None
    languages: dict[str, int]
    problems: Problems
    doubts: LabelDoubts | None = None

    @property
    def ok(self) -> bool:
        """Whether there are no errors; warnings are allowed."""
        return not self.problems.errors

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-ready fields."""
        return {
            "ok": self.ok,
            "files": list(self.files),
            "rows": self.rows,
            "kinds": self.kinds,
            "characters": self.characters,
            "labels": self.labels,
            "languages": self.languages,
            "doubtful_labels": self.doubts.as_dict() if self.doubts else None,
            **self.problems.as_dict(),
        }


@dataclass
class _Totals:
    rows: int = 0
    characters: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    labels: LabelCounter = field(default_factory=LabelCounter)
    reference_labels: LabelCounter = field(default_factory=LabelCounter)
    languages: dict[str, Origins] = field(default_factory=lambda: defaultdict(Origins))


def check(
    paths: Paths,
    mapping: ColumnMapping | None = None,
    format: str | None = None,
    against: Paths = (),
    spec: CheckSpec | None = None,
    count_tokens: Callable[[str], int] | None = None,
    listener: Listener = ignore,
) -> CheckResult:
    """Check data files against every defect of DEFECTS.

    against: other files, read the same way, that must share no prompt with these; count_tokens: tokens of a text,
    needed for `spec.max_tokens`. Raises UsageError for wrong arguments only: defects are in the result.
    """
    checking = _Checking(spec or CheckSpec(), count_tokens, listener)
    if against:
        for record in read(against, mapping, format, checking.problems):
            checking.add_reference(record)
    for record in read(paths, mapping, format, checking.problems):
        checking.add(record)
    return checking.finish(tuple(name for _, name in files(paths)))


def check_records(records: Iterable[Record], listener: Listener = ignore) -> CheckResult:
    """Check records that were read before against every defect that usable rows can have."""
    checking = _Checking(CheckSpec(), None, listener)
    names: dict[str, None] = {}
    for record in records:
        checking.add(record)
        names[record.origin.file] = None
    return checking.finish(tuple(names))


class _Checking:
    """A check under way: records go in one by one, the result comes last."""

    def __init__(self, spec: CheckSpec, count_tokens: Callable[[str], int] | None, listener: Listener) -> None:
        if spec.max_tokens is not None and count_tokens is None:
            message = "A limit in tokens was given without a base model to count them."
            raise UsageError(message, "Give max_chars instead.")
        self.problems = Problems()
        self._spec, self._count_tokens, self._listener = spec, count_tokens, listener
        self._repetition = Repetition(self.problems, spec.similarity)
        self._totals = _Totals()

    def add_reference(self, record: Record) -> None:
        """A record that no other may share its prompt with."""
        self._repetition.add_reference(record)
        self._totals.reference_labels.add(record)

    def add(self, record: Record) -> None:
        """Check one record."""
        _count(self._totals, record)
        _check_record(record, self._spec, self._count_tokens, self.problems)
        self._repetition.add(record)
        if self._totals.rows % PROGRESS_ROWS == 0:
            self._listener({"event": "progress", "title": "Checking", "done": self._totals.rows, "total": None})

    def finish(self, names: tuple[str, ...]) -> CheckResult:
        """The result, with what only all records together show. names: of the files."""
        totals, problems, spec = self._totals, self.problems, self._spec
        counts = totals.labels.counts()
        self._repetition.finish(labels=counts is not None)
        if 0 < totals.rows < spec.min_rows:
            problems.add("too-few-rows", Origin(names[0], 0), f"{totals.rows} usable rows, fewer than {spec.min_rows}")
        if counts:
            _check_labels(counts, totals.labels.first, spec, problems)
            _check_spellings(counts, totals.labels, problems)
            _check_drift(totals, problems)
        _check_languages(totals.languages, problems)
        languages = {name: len(origins) for name, origins in totals.languages.items()}
        return CheckResult(names, totals.rows, dict(totals.kinds), totals.characters, counts, languages, problems)


def _count(totals: _Totals, record: Record) -> None:
    totals.rows += 1
    totals.kinds[type(record).__name__.lower()] += 1
    totals.characters += sum(len(part.text) for part in parts(record))
    totals.labels.add(record)
    if spoken := language(f"{prompt_text(record)} {answer_text(record)}"):
        totals.languages[spoken].append(record.origin)


def _check_record(
    record: Record, spec: CheckSpec, count_tokens: Callable[[str], int] | None, problems: Problems
) -> None:
    site = Site(problems, record.origin)
    named = parts(record)
    check_tokens(named, spec.special_tokens, site)
    check_personal(named, site)
    check_answer(named, site)
    if spec.max_chars is not None:
        check_length(named, spec.max_chars, "characters", len, site)
    if spec.max_tokens is not None and count_tokens is not None:
        check_length(named, spec.max_tokens, "tokens", count_tokens, site)
    answer = named[-1].text.strip()
    if spec.labels is not None and answer not in spec.labels:
        site.add("label-outside-set", _outside(answer, spec.labels), named[-1].field)


@lru_cache(maxsize=4096)
def _outside(answer: str, labels: tuple[str, ...]) -> str:
    if len(answer) > LONGEST_LABEL:
        return f"an answer of {len(answer):,} characters"
    return f"{answer!r} is not one of the {len(labels)} labels. {did_you_mean(answer, labels)}"


def _check_labels(
    counts: Mapping[str, int], first: Mapping[str, tuple[Origin, str]], spec: CheckSpec, problems: Problems
) -> None:
    """Report labels with few rows, unless they are others spelt otherwise, and labels that are numbers."""
    frequent = [label for label, count in counts.items() if count >= spec.min_rows_per_label]
    misspelt = {variant.label for variant in variants(counts)}
    for label, count in counts.items():
        if count >= spec.min_rows_per_label or label in misspelt:
            continue
        hint = did_you_mean(label, frequent) if frequent else ""
        message = f"{label!r} has {count} row{'s' if count > 1 else ''}, fewer than {spec.min_rows_per_label}"
        origin, field = first[label]
        problems.add("rare-label", origin, message + (f". {hint}" if hint.startswith("Did") else ""), field)
    if all(NUMBER.fullmatch(label) for label in counts) and not problems.count("number-as-label"):
        origin, field = min(first.values(), key=lambda place: place[0].line)
        problems.add("number-as-label", origin, f"all {len(counts)} labels are numbers", field)


def _check_spellings(counts: Mapping[str, int], labels: LabelCounter, problems: Problems) -> None:
    """Report every row whose label is another label, spelt otherwise or with white space where most have none."""
    for label, rows in labels.uneven().items():
        for origin in rows:
            message = f"{label!r} has white space around it in some of its {counts[label]:,} rows; here not as in most"
            problems.add("label-variant", origin, message, labels.first[label][1])
    for label, usual in variants(counts):
        origins = labels.origins[label]
        for index in range(len(origins)):
            message = f"{label!r} is {usual!r} ({counts[usual]:,} rows) in another spelling"
            problems.add("label-variant", origins[index], message, labels.first[label][1])


def _check_drift(totals: _Totals, problems: Problems) -> None:
    """Report labels whose share in one file, or in the other file that was given, differs from that in the rest."""
    other = totals.reference_labels.by_file() if totals.reference_labels.counts() else {}
    for drift in drifts(other | totals.labels.by_file()):
        problems.add("label-drift", Origin(drift.file, 0), str(drift), next(iter(totals.labels.first.values()))[1])


def _check_languages(languages: Mapping[str, Origins], problems: Problems) -> None:
    """Report the rows of every language but the most frequent one."""
    if not languages:
        return
    most = max(languages, key=lambda name: len(languages[name]))
    for name, origins in languages.items():
        for index in range(len(origins) if name != most else 0):
            problems.add("language-mix", origins[index], f"{name}, but most rows are {most}")
