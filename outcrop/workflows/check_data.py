"""Check data files, and split them into train, validation and a sealed test set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from outcrop.core.events import Listener, ignore
from outcrop.core.files import check_target
from outcrop.core.spec import Spec, parameter
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.reading import Paths, load
from outcrop.data.split import Split, split, write_split
from outcrop.data.validation import CheckResult, CheckSpec, check


class SplitSpec(Spec):
    """How rows are shared out."""

    seed: int = parameter(0, "of the draw", ge=0)
    validation: float = parameter(0.1, "share of the rows for validation", ge=0, lt=1)
    test: float = parameter(0.1, "share of the rows for the sealed test set", ge=0, lt=1)
    stratify: bool = parameter(True, "give every label its share in each part")


def check_data(
    paths: Paths,
    mapping: Mapping | None = None,
    format: str | None = None,  # noqa: A002 - the word of the command line
    against: Paths = (),
    spec: CheckSpec | None = None,
    count_tokens: Callable[[str], int] | None = None,
    listener: Listener = ignore,
) -> CheckResult:
    """Every problem of the data files, in one pass; see `outcrop.data.validation.check`."""
    listener({"event": "stage", "title": "Checking"})
    return check(paths, mapping, format, against, spec, count_tokens, listener)


def split_data(
    paths: Paths,
    to: Path,
    mapping: Mapping | None = None,
    format: str | None = None,  # noqa: A002 - the word of the command line
    spec: SplitSpec | None = None,
    problems: Problems | None = None,
    listener: Listener = ignore,
) -> Split:
    """Read the files, split them by near-duplicate-free groups and write the folder `to`, or nothing.

    problems: receives the warnings. Raises UsageError if `to` holds something, DataError with every problem of the
    data or where no such split exists.
    """
    spec = spec or SplitSpec()
    check_target(to)
    listener({"event": "stage", "title": "Reading"})
    records = load(paths, mapping, format, problems)
    listener({"event": "stage", "title": f"Splitting {len(records):,} rows"})
    drawn = split(records, spec.seed, spec.validation, spec.test, spec.stratify)
    write_split(drawn, to)
    return drawn
