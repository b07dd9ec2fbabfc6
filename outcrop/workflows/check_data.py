"""Check data files, and split them into train, validation and a sealed test set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from outcrop.core.events import Listener, ignore
from outcrop.core.files import check_target
from outcrop.data.draw import SplitSpec
from outcrop.data.label_quality import find_doubtful_labels
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.reading import Paths, load, read
from outcrop.data.records import Origin
from outcrop.data.split import Split, split, write_split
from outcrop.data.validation import CheckResult, CheckSpec, check


@dataclass(frozen=True)
class SplitResult:
    """A split that was written: its folder, the parts with their certificate, and the warnings of the reading."""

    folder: Path
    split: Split
    problems: Problems

    def as_dict(self) -> dict[str, Any]:
        """The certificate and the warnings as JSON-ready fields."""
        return {"folder": str(self.folder), **self.split.certificate, "warnings": self.problems.as_dict()["problems"]}


def check_data(
    paths: Paths,
    mapping: Mapping | None = None,
    format: str | None = None,
    against: Paths = (),
    spec: CheckSpec | None = None,
    count_tokens: Callable[[str], int] | None = None,
    listener: Listener = ignore,
    *,
    doubtful_labels: bool = False,
) -> CheckResult:
    """Every problem of the data files, in one pass; see `outcrop.data.validation.check`.

    doubtful_labels: also train a model on the rows and report labels that it contradicts; needs scikit-learn.
    """
    listener({"event": "stage", "title": "Checking"})
    result = check(paths, mapping, format, against, spec, count_tokens, listener)
    if not doubtful_labels:
        return result
    listener({"event": "stage", "title": "Training a model of the labels"})
    doubts = find_doubtful_labels(list(read(paths, mapping, format, Problems())))
    for doubt in doubts.doubts:
        message = f"{doubt.given!r}; a model of the other rows says {doubt.suggested!r} (margin {doubt.margin:.2f})"
        result.problems.add("label-doubt", Origin(doubt.file, doubt.line), message, doubt.field)
    return replace(result, doubts=doubts)


def split_data(
    paths: Paths,
    to: str | Path,
    mapping: Mapping | None = None,
    format: str | None = None,
    spec: SplitSpec | None = None,
    listener: Listener = ignore,
    *,
    overwrite: bool = False,
) -> SplitResult:
    """Read the files, split them by near-duplicate-free groups and write the folder `to`, or nothing.

    Raises UsageError if `to` holds something, DataError with every problem of the data or where no split exists.
    """
    spec, folder = spec or SplitSpec(), Path(to)
    check_target(folder, overwrite=overwrite, inputs=[paths] if isinstance(paths, str | Path) else paths)
    listener({"event": "stage", "title": "Reading"})
    problems = Problems()
    records = load(paths, mapping, format, problems)
    listener({"event": "stage", "title": f"Splitting {len(records):,} rows"})
    drawn = split(records, spec)
    write_split(drawn, folder, mapping, overwrite=overwrite)
    return SplitResult(folder, drawn, problems)
