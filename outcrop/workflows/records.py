"""Files to records, the same way for every verb."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from outcrop.core.errors import DataError, UsageError
from outcrop.core.events import Listener
from outcrop.core.files import digest
from outcrop.data.invocation_logs import FORMAT as LOG_FORMAT
from outcrop.data.invocation_logs import InvocationLogs, MetadataFilter
from outcrop.data.mapping import Mapping as ColumnMapping
from outcrop.data.problems import Problems
from outcrop.data.prompts import read_prompts
from outcrop.data.reading import files, read
from outcrop.data.records import Origin, Record
from outcrop.data.synthetic import marked
from outcrop.models.rendering import Renderer
from outcrop.models.special_tokens import sift

WHOLE_FILE = ("broken-compression", "decompression-bomb", "broken-parquet", "empty-file", "unknown-format")
"""Defects by which a file loses an unknown number of rows, so that dropping "bad rows" would not say what is lost."""


@dataclass(frozen=True)
class Source:
    """Which files, and how their rows become records. where: filters of invocation logs by their request metadata."""

    paths: tuple[str, ...]
    columns: str = ""
    template: str = ""
    roles: str = ""
    format: str = ""
    drop_bad_rows: bool = False
    where: tuple[str, ...] = ()

    def mapping(self) -> ColumnMapping | None:
        """The column mapping, where one was given."""
        return ColumnMapping.from_text(self.columns, self.template, self.roles)

    def at(self, paths: Sequence[str]) -> Source:
        """The same reading of other files."""
        return replace(self, paths=tuple(paths))

    def as_dict(self) -> dict[str, Any]:
        """What a model's card keeps, so that later rows are read in the same way."""
        return {name: getattr(self, name) for name in ("columns", "template", "roles", "format")}


@dataclass(frozen=True)
class Rows:
    """Records, the digest of the files they came from, and what was wrong with those files."""

    records: list[Record]
    digest: str
    problems: dict[str, Any] = field(default_factory=dict)
    dropped: int = 0


def read_rows(source: Source, listener: Listener, *, prompts: bool = False) -> Rows:
    """Read all records; prompts: rows may lack an answer.

    Raises DataError with every problem at once, unless bad rows are to be dropped: then they are counted, and a warning
    says so. A file that cannot be read to its end is refused in any case.
    """
    problems = Problems()
    if prompts and source.format == LOG_FORMAT:
        logs = InvocationLogs(source.paths, MetadataFilter.from_texts(source.where))
        records, digest_found = list(logs.read(problems)), logs.digest()
        _tell_of_logs(logs, problems, listener)
    else:
        if source.where:
            raise UsageError("--where is for invocation logs.", f"Say --format {LOG_FORMAT}.")
        reading = read_prompts if prompts else read
        records = list(reading(source.paths, source.mapping(), source.format or None, problems))
        digest_found = ""
    dropped = problems.rows_with_errors
    if not source.drop_bad_rows or any(problems.count(code) for code in WHOLE_FILE):
        problems.raise_errors()
    if not records:
        raise DataError(
            "The files hold no usable records.", "Look at them with outcrop data check.", ", ".join(source.paths)
        )
    if dropped:
        listener({"event": "warning", "code": "dropped-rows", "message": f"{dropped} rows with defects are left out."})
    return Rows(records, digest_found or digest_of(source.paths), problems.as_dict(), dropped)


def refuse_synthetic(records: Sequence[Record]) -> None:
    """Raise DataError where rows that a model is to be measured on say that a model made them."""
    if found := [record for record in records if marked(record)]:
        raise DataError(
            f"{len(found):,} of {len(records):,} test rows are marked as synthetic, the first at {found[0].origin}.",
            "A model is measured on rows that people made: leave these out.",
        )


def _tell_of_logs(logs: InvocationLogs, problems: Problems, listener: Listener) -> None:
    unusable = problems.count("unusable-invocation")
    if logs.filtered or unusable:
        message = f"{logs.filtered:,} invocations are filtered out by --where, {unusable:,} have no usable text."
        listener({"event": "warning", "code": "invocation-logs", "message": message})


@dataclass(frozen=True)
class RenderableRows:
    """The rows of each part that can be rendered; where those that were left out stand, and why, in a sentence."""

    parts: dict[str, list[Record]]
    left_out: tuple[Origin, ...]
    account: str


def renderable(
    renderers: Sequence[Renderer], parts: Mapping[str, Sequence[Record]], listener: Listener, *, drop: bool
) -> RenderableRows:
    """The rows without special tokens of the models that will read them, so that no row fails in the middle.

    Raises DataError naming all such rows, unless they are to be dropped: then a warning says so. A part of which
    nothing is left is refused in any case.
    """
    found = sift(renderers, list(parts.values()), drop=drop)
    kept = dict(zip(parts, found.parts, strict=True))
    for name, records in kept.items():
        if parts[name] and not records:
            raise DataError(f"No {name} rows are left: {found.account}", "Remove the tokens from the texts.")
    if found.left_out:
        message = f"{found.account} They are left out."
        listener({"event": "warning", "code": "special-tokens", "message": message})
    return RenderableRows(kept, tuple(found.left_out), found.account)


def digest_of(paths: Sequence[str]) -> str:
    """One digest of the bytes of all files, in order."""
    total = hashlib.sha256()
    for path, _ in files(list(paths)):
        total.update(digest(Path(path)).encode())
    return f"sha256:{total.hexdigest()}"
