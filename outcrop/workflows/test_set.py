"""The rows that `evaluate` measures on, and those that worked examples are drawn from: files, or a split folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from outcrop.core import settings as environment
from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener
from outcrop.data.assignment import PARTS
from outcrop.data.certificate import CERTIFICATE, open_split
from outcrop.data.records import Record
from outcrop.evaluation.ledger import look, seal
from outcrop.evaluation.results import DataFacts
from outcrop.workflows.records import Source, read_rows, refuse_synthetic


@dataclass(frozen=True)
class TestSet:
    """paths: the files of the test rows; pool: the rows for worked examples; sealed: the files are parts of a split."""

    __test__ = False  # not a test class

    paths: tuple[str, ...]
    records: list[Record]
    pool: list[Record]
    sealed: bool


def gather_test_set(
    source: Source, shots_from: Sequence[str], limit: int | None, listener: Listener, *, stored: Source
) -> TestSet:
    """Read the test rows of `source`, and the rows that worked examples come from.

    A folder written by `outcrop data split` stands for its sealed test, and its training rows for worked examples.
    stored: how the measured model's rows were read, for files that come without a mapping; a split's rows need none.
    Raises UsageError for a split together with a mapping, DataError for a part that is not what was sealed.
    """
    chosen = [_part(Path(path), "test") for path in source.paths]
    sealed = all(part is not None for part in chosen)
    if any(chosen) and not sealed:
        raise UsageError("A split and other files were named together.", "Measure on one of them at a time.")
    if sealed and (source.mapping() or source.format):
        raise UsageError("A split folder's rows are records already.", "Leave out --map, --template and --format.")
    paths = tuple(map(str, chosen)) if sealed else source.paths
    own = source if sealed or source.mapping() or source.format else stored
    records = read_rows(own.at(paths), listener).records[:limit]
    refuse_synthetic(records)
    if sealed and not shots_from:
        shots_from = [path for path in source.paths if Path(path).is_dir()]
    pool: list[Record] = []
    for path in shots_from:
        part = _part(Path(path), "train")
        pool += read_rows((source if part else own).at([str(part or path)]), listener).records
    return TestSet(paths, records, pool, sealed)


def opened(paths: Sequence[str], rows: int, purpose: str, model: str, *, sealed: bool) -> DataFacts:
    """Record a look at the test files in the ledger, before they are used."""
    looks, digests = 0, []
    for path in paths:
        file = Path(path)
        if not file.is_file():
            raise DataError("A test set is a file, not a folder.", "Name its files.", path)
        fixed = seal(file, rows)
        looks = max(looks, look(file, fixed, purpose, model, environment.home() / "ledger"))
        digests.append(fixed.digest)
    return DataFacts(", ".join(paths), " ".join(digests), rows, looks, sealed)


def is_sealed(path: Path) -> bool:
    """Whether a file is a part of a split, that is, whether its certificate stands beside it."""
    return path.stem in PARTS and path.suffix == ".jsonl" and (path.parent / CERTIFICATE).is_file()


def _part(path: Path, name: str) -> Path | None:
    """Of a split folder the file of this part, of a part of a split itself, verified; None for any other path."""
    if path.is_file() and is_sealed(path):
        open_split(path.parent)
        return path
    if not (path / CERTIFICATE).is_file():
        return None
    parts = open_split(path)
    if name not in parts:
        raise UsageError(f"The split {path} has no {name} part.", "Split again with a share for it.")
    return parts[name]
