"""Describe data sets: how they compare with production, where they are biased, and the card with its report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener, ignore
from outcrop.core.files import check_target, staged_folder, write_atomic, write_json
from outcrop.core.spec import Spec, parameter
from outcrop.data import bias
from outcrop.data.bias import BiasTable
from outcrop.data.card import CARD, Card, Provenance, Subject, markdown, name_of, subject, summary
from outcrop.data.counterfactual import Counterfactual, counterfactuals, write_counterfactuals
from outcrop.data.label_quality import LabelDoubts, find_doubtful_labels
from outcrop.data.labels import label_set
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.profile import profile
from outcrop.data.reading import Paths, load, read
from outcrop.data.records import Record
from outcrop.data.report import render
from outcrop.data.representative import CompareSpec, Representativeness, compare
from outcrop.data.terms import read_terms
from outcrop.data.validation import check

WEIGHTS, COMPARISON, BIAS = "weights.jsonl", "comparison.json", "bias.json"
CARD_TEXT, REPORT = "card.md", "report.html"


class Production(Spec):
    """A sample of production inputs, and how its rows are read."""

    paths: tuple[str, ...] = parameter((), "files")
    columns: str = parameter("", "as --map; default: the training rows' mapping")
    format: str | None = parameter(None, "of the records")


class BiasSpec(Spec):
    """What bias is looked for."""

    fields: tuple[str, ...] = parameter((), "whose values are slices")
    terms: str | None = parameter(None, "TOML file of words; default: those that come with Outcrop")
    expected: str | None = parameter(None, "JSON file of label: share")
    doubtful_labels: bool = parameter(False, "train a model of the labels and count those it contradicts")
    seed: int = parameter(0, "of everything that is drawn", ge=0)


@dataclass(frozen=True)
class CompareResult:
    """A comparison, and the folder it was written to."""

    folder: Path | None
    found: Representativeness

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON-ready fields, without the weight of every row."""
        return {"folder": str(self.folder) if self.folder else None, **(summary(self.found) or {})}


@dataclass(frozen=True)
class BiasResult:
    """The bias tables, the counterfactual rows, and the folder they were written to."""

    folder: Path | None
    tables: tuple[BiasTable, ...]
    counterfactuals: tuple[Counterfactual, ...]

    def as_dict(self) -> dict[str, Any]:
        """The tables as JSON-ready fields, and how many counterfactual rows there are."""
        tables = [table.as_dict() for table in self.tables]
        return {"folder": str(self.folder) if self.folder else None, "counterfactuals": len(self.counterfactuals),
                "tables": tables}  # fmt: skip


@dataclass(frozen=True)
class CardResult:
    """A card that was written, and its folder."""

    folder: Path
    card: Card

    def as_dict(self) -> dict[str, Any]:
        """The card as JSON-ready fields."""
        return {"folder": str(self.folder), **self.card.as_dict()}


def compare_data(
    paths: Paths,
    production: Production,
    mapping: Mapping | None = None,
    format: str | None = None,
    spec: CompareSpec | None = None,
    to: str | Path | None = None,
    listener: Listener = ignore,
    *,
    overwrite: bool = False,
) -> CompareResult:
    """Compare training rows with a sample of production; with `to` write comparison.json and weights.jsonl there.

    Raises DataError with every problem of the data.
    """
    target = Path(to) if to else None
    if target:
        check_target(target, overwrite=overwrite, inputs=[*_named(paths), *production.paths])
    listener({"event": "stage", "title": "Reading"})
    training = load(paths, mapping, format)
    found = _compared(training, production, mapping, format, spec or CompareSpec(), listener)
    if found is None:
        raise UsageError("There is nothing to compare with.", "Name a sample of production inputs: --production FILE.")
    if target:
        with staged_folder(target) as folder:
            write_json(folder / COMPARISON, summary(found))
            write_atomic(folder / WEIGHTS, "".join(_weight_lines(training, found)))
    return CompareResult(target, found)


def find_bias(
    paths: Paths,
    mapping: Mapping | None = None,
    format: str | None = None,
    spec: BiasSpec | None = None,
    production: Production | None = None,
    to: str | Path | None = None,
    listener: Listener = ignore,
    *,
    overwrite: bool = False,
) -> BiasResult:
    """Measure bias; with `to` write bias.json and counterfactual rows there.

    Raises DataError with every problem of the data, UsageError for wrong fields and files.
    """
    spec, target = spec or BiasSpec(), Path(to) if to else None
    if target:
        check_target(target, overwrite=overwrite, inputs=[*_named(paths), *(production.paths if production else ())])
    listener({"event": "stage", "title": "Reading"})
    records = load(paths, mapping, format)
    compared = _compared(records, production, mapping, format, CompareSpec(seed=spec.seed), listener)
    tables = _bias(records, spec, compared, _doubts(records, spec, listener))
    found = tuple(counterfactuals(records, read_terms(_path(spec.terms)).swaps))
    if target:
        with staged_folder(target) as folder:
            write_json(folder / BIAS, [table.as_dict() for table in tables])
            write_counterfactuals(found, folder)
    return BiasResult(target, tables, found)


def describe_data(
    paths: Paths,
    to: str | Path,
    provenance: Provenance | None = None,
    mapping: Mapping | None = None,
    format: str | None = None,
    spec: BiasSpec | None = None,
    production: Production | None = None,
    listener: Listener = ignore,
    *,
    overwrite: bool = False,
) -> CardResult:
    """Write card.md, card.json and report.html of files, or of the folder of a split or preparation.

    A sealed test is counted and not read. Rows with errors are left out and counted. Raises DataError where no row can
    be used, UsageError if `to` holds something.
    """
    spec, target = spec or BiasSpec(), Path(to)
    check_target(target, overwrite=overwrite, inputs=[*_named(paths), *(production.paths if production else ())])
    provenance = provenance or Provenance(name_of(_named(paths)[0]))
    about = subject(paths)
    if (mapping or format) and (about.split or about.preparation):
        raise UsageError("The rows of a split or preparation are records.", "Leave out --map, --template and --format.")
    listener({"event": "stage", "title": "Checking"})
    problems = check(about.read, mapping, format, listener=listener).problems
    records = list(read(about.read, mapping, format, Problems()))
    doubts = _doubts(records, spec, listener)
    compared = _compared(records, production, mapping, format, CompareSpec(seed=spec.seed), listener)
    listener({"event": "stage", "title": "Counting"})
    card = replace(
        described(records, about, problems, provenance, spec, compared, doubts),
        command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        created=datetime.now(UTC).isoformat(timespec="minutes"),
    )
    with staged_folder(target) as folder:
        write_card(card, folder)
    return CardResult(target, card)


def described(
    records: Sequence[Record],
    about: Subject,
    problems: Problems,
    provenance: Provenance,
    spec: BiasSpec,
    compared: Representativeness | None = None,
    doubts: LabelDoubts | None = None,
) -> Card:
    """The card of records, without when and how it was made. Raises DataError for no records."""
    counted = profile(records, spec.seed)
    return Card(provenance, about, counted, problems, _bias(records, spec, compared, doubts), compared, doubts)


def write_card(card: Card, folder: Path) -> None:
    """Write card.md, card.json and report.html."""
    write_json(folder / CARD, card.as_dict())
    write_atomic(folder / CARD_TEXT, markdown(card))
    write_atomic(folder / REPORT, render(card))


def _compared(
    training: Sequence[Record],
    production: Production | None,
    mapping: Mapping | None,
    format: str | None,
    spec: CompareSpec,
    listener: Listener,
) -> Representativeness | None:
    if production is None or not production.paths:
        return None
    own = Mapping.from_text(production.columns, "", "") if production.columns else mapping
    sample = load(production.paths, own, production.format or (None if own else format))
    listener({"event": "stage", "title": f"Comparing with {len(sample):,} production rows"})
    return compare(training, sample, spec)


def _doubts(records: Sequence[Record], spec: BiasSpec, listener: Listener) -> LabelDoubts | None:
    if not spec.doubtful_labels:
        return None
    listener({"event": "stage", "title": "Training a model of the labels"})
    return find_doubtful_labels(records, spec.seed)


def _bias(
    records: Sequence[Record], spec: BiasSpec, compared: Representativeness | None, doubts: LabelDoubts | None
) -> tuple[BiasTable, ...]:
    parts = bias.slices(records, spec.fields, read_terms(_path(spec.terms)))
    expected = _expected(Path(spec.expected), records) if spec.expected else None
    return bias.report(records, parts, compared, doubts, expected)


def _expected(path: Path, records: Sequence[Record]) -> dict[str, float]:
    """Declared shares of labels. Raises UsageError for a file that is not label: share."""
    remedy = 'Give a JSON object of shares that sum up to 1: {"refund": 0.3, "delivery": 0.7}.'
    try:
        values = json.loads(path.read_text("utf-8"))
        shares = {str(label): float(share) for label, share in values.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"{path} cannot be read as shares: {error}.", remedy) from None
    if abs(sum(shares.values()) - 1) > 0.01:
        raise UsageError(f"The shares of {path} sum up to {sum(shares.values()):g}.", remedy)
    if label_set(records) is None:
        raise DataError("Shares of labels were given, but the answers are not labels.", "Leave out --expected.")
    return shares


def _weight_lines(training: Sequence[Record], found: Representativeness) -> list[str]:
    """A line for each row that was compared: where it stands and its importance weight."""
    origins = [training[row].origin for row in found.weights.places]
    return [
        json.dumps({"file": origin.file, "line": origin.line, "weight": weight}, ensure_ascii=False) + "\n"
        for origin, weight in zip(origins, found.weights.weights, strict=True)
    ]


def _named(paths: Paths) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None
