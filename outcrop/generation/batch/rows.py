"""The rows of batch files, in order and numbered, broken ones among them: each asks something or says why it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from outcrop.core.errors import DataError, UsageError, UserError, did_you_mean
from outcrop.data.defects import DEFECTS
from outcrop.data.formats.catalog import CONTAINERS, SHAPES
from outcrop.data.formats.container import Row
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problem, Problems
from outcrop.data.reading import container_of, file_type
from outcrop.data.records import Origin
from outcrop.data.unanswered import asking_mapping
from outcrop.generation.batch.formats import (
    ANSWER,
    ERROR,
    INVOCATIONS,
    REASON,
    BatchFormat,
    BedrockBatch,
    OpenAIBatch,
    PlainRecords,
    recognised,
    row_id,
    stored_mapping,
)
from outcrop.generation.batch.questions import BodyReader, Question, Refusal
from outcrop.models.folder import ModelFolder

SNIFFED_ROWS = 50
FORMATS = ("bedrock-batch", "openai-batch")


class InputFile(NamedTuple):
    """A file of rows. name: within the user's folder, with slashes; so results are called, and rows are named."""

    path: Path
    name: str


@dataclass(frozen=True)
class Reading:
    """How files are read. format: of FORMATS or a record format; empty to recognise it. invocation: of INVOCATIONS.

    foundation: the foundation model whose format bodies have; empty for any.
    """

    columns: str = ""
    template: str = ""
    roles: str = ""
    format: str = ""
    invocation: str = "InvokeModel"
    foundation: str = ""

    def check(self) -> None:
        """Raise UsageError for what can be seen to be wrong without a file."""
        mapping = asking_mapping(self.columns, self.template, self.roles)
        if self.format and self.format not in (*FORMATS, *SHAPES):
            raise UsageError(f"Unknown format: {self.format}.", did_you_mean(self.format, [*FORMATS, *SHAPES]))
        if mapping and self.format:
            raise UsageError("A format and a mapping were both given.", "Give one: a mapping makes the records itself.")
        if self.invocation not in INVOCATIONS:
            raise UsageError(f"{self.invocation!r} is no way to invoke.", f"Allowed: {', '.join(INVOCATIONS)}.")

    def form(self, head: Sequence[Row], folder: ModelFolder, read: BodyReader) -> BatchFormat:
        """The form of a file whose first rows are these."""
        mapping = asking_mapping(self.columns, self.template, self.roles)
        name = self.format or ("records" if mapping else recognised(head))
        if name == "bedrock-batch":
            return BedrockBatch(read, self.invocation)
        if name == "openai-batch":
            return OpenAIBatch(read)
        if self.format:
            return PlainRecords(folder, form=self.format)
        return PlainRecords(folder, mapping or stored_mapping(folder, _stored(folder), head[0]))


class BatchRow(NamedTuple):
    """A row and what it asks, or why it cannot ask. row: None where it is no row of its container."""

    origin: Origin
    row: Row | None
    question: Question | None
    refusal: Refusal | None

    @property
    def identity(self) -> str:
        """A short name of the row."""
        return row_id(self.origin)


class OpenFile(NamedTuple):
    """A file whose form is known, and its rows, which can be read once."""

    file: InputFile
    form: BatchFormat
    rows: Iterator[BatchRow]


def open_file(file: InputFile, reading: Reading, folder: ModelFolder, read: BodyReader) -> OpenFile:
    """Recognise a file's form and read it. Its rows raise DataError where it breaks off, so that no row is lost.

    Raises UsageError for a file of unknown type, and for plain rows that have the fields of answers already; DataError
    for one without any readable row.
    """
    found = _found(file)
    head = list(islice(found, SNIFFED_ROWS))
    rows = [item for item in head if isinstance(item, Row)]
    if not rows:
        problems = [problem for item in head if not isinstance(item, Row) for problem in item]
        what = "; ".join(map(str, problems)) or "no rows"
        raise DataError(f"The file has no row that can be read: {what}.", "Mend it, or leave it out.", file.name)
    form = reading.form(rows, folder, read)
    if isinstance(form, PlainRecords) and (taken := {ANSWER, REASON, ERROR} & rows[0].values.keys()):
        remedy = "Rename them: the answers are put there."
        raise UsageError(f"The rows have the fields {', '.join(sorted(taken))} already.", remedy, file.name)
    return OpenFile(file, form, (_asked(form, item) for item in chain(head, found)))


def input_files(folder: Path) -> list[InputFile]:
    """All files of rows below a folder, by name. Raises UsageError where there are none."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and file_type(path) in CONTAINERS)
    shown = [InputFile(path, path.relative_to(folder).as_posix()) for path in paths if not _is_hidden(path, folder)]
    if not shown:
        raise UsageError(f"The folder {folder} holds no files of rows.", f"Allowed: .{', .'.join(sorted(CONTAINERS))}.")
    return shown


def check_names(files: Sequence[InputFile]) -> None:
    """Raise UsageError where two files would get the same result, or one would leave the folder of results."""
    seen: dict[str, Path] = {}
    for file in files:
        container_of(file.path, file.name)
        if file.name in seen:
            message = f"Two files are called {file.name}: {seen[file.name]} and {file.path}."
            raise UsageError(message, "Their results would be one: rename one, or give two jobs.")
        if ".." in PurePosixPath(file.name).parts:
            raise UsageError(f"{file.name} lies outside of its folder.", "Name the file itself.")
        seen[file.name] = file.path


def _asked(form: BatchFormat, item: Row | list[Problem]) -> BatchRow:
    if not isinstance(item, Row):
        told = "; ".join(problem.message for problem in item)
        remedy = " ".join(dict.fromkeys(problem.remedy for problem in item))
        return BatchRow(item[0].origin, None, None, Refusal(400, f"{item[0].origin}: {told}. {remedy}"))
    try:
        return BatchRow(item.origin, item, form.question(item), None)
    except UserError as error:
        return BatchRow(item.origin, item, None, Refusal.of(error))


class _Heard(Problems):
    """Problems, and the errors among them since they were last asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._news: list[Problem] = []

    def add(self, code: str, origin: Origin, message: str, field: str = "") -> None:
        super().add(code, origin, message, field)
        defect = DEFECTS[code]
        if defect.severity == "error":
            self._news.append(Problem(code, defect.severity, origin, field, message, defect.remedy))

    def news(self) -> list[list[Problem]]:
        """The errors, those of one row together."""
        by_row: dict[Origin, list[Problem]] = {}
        for problem in self._news:
            by_row.setdefault(problem.origin, []).append(problem)
        self._news = []
        return list(by_row.values())


WHOLE_FILE = ("broken-compression", "decompression-bomb", "broken-parquet")
"""Defects by which an unknown number of rows is lost."""


def _found(file: InputFile) -> Iterator[Row | list[Problem]]:
    """Rows, and the problems of what is none, in their order."""
    heard = _Heard()
    rows = CONTAINERS.load(container_of(file.path, file.name))(file.path, file.name, heard)
    while True:
        row = next(rows, None)
        for problems in heard.news():
            if lost := [problem for problem in problems if problem.code in WHOLE_FILE or not problem.origin.line]:
                raise DataError(f"The file cannot be read to its end: {lost[0].message}.", lost[0].remedy, file.name)
            yield problems
        if row is None:
            return
        yield row


def _stored(folder: ModelFolder) -> Mapping | None:
    source = folder.card.get("source") or {}
    return asking_mapping(*(str(source.get(name) or "") for name in ("columns", "template", "roles")))


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
