"""Files to records: containers and formats recognised, problems named, rows streamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain, islice
from pathlib import Path

from outcrop.core.errors import UsageError, did_you_mean
from outcrop.core.files import Location, bare_suffix
from outcrop.data.certificate import CERTIFICATE
from outcrop.data.formats.catalog import CONTAINERS, DOCUMENTS, SHAPES
from outcrop.data.formats.container import Row
from outcrop.data.formats.json_text import shortened
from outcrop.data.formats.shape import Shape
from outcrop.data.mapping import Mapping, apply
from outcrop.data.problems import Problems, Site
from outcrop.data.records import Origin, Record

Paths = str | Path | Sequence[str | Path]
SNIFFED_ROWS = 50
"""Rows at the beginning of a file that vote on its format, so that one broken row does not decide."""

SIMILAR_KEY = 0.6
SHOWN_COLUMNS = 30
"""Columns of an unknown format that a message names and looks at."""


def read(
    paths: Paths,
    mapping: Mapping | None = None,
    format: str | None = None,
    problems: Problems | None = None,
) -> Iterator[Record]:
    """Stream the records of files and document folders, in order.

    mapping: which columns are what; without it the rows' format is recognised, or is `format`, a name in SHAPES.
    problems: collects what is wrong, and broken rows are left out; without it DataError is raised at the end.
    Raises UsageError for paths that do not exist, unknown file types, and a mapping given together with a format.
    """
    if mapping is not None and format is not None:
        raise UsageError("A format and a mapping were both given.", "Give one: a mapping makes the records itself.")
    found = Problems() if problems is None else problems
    for path, name in files(paths):
        yield from _read_file(path, name, mapping, SHAPES.load(format) if format else None, found)
    if problems is None:
        found.raise_errors()


def load(
    paths: Paths,
    mapping: Mapping | None = None,
    format: str | None = None,
    problems: Problems | None = None,
) -> list[Record]:
    """All records in memory. Raises DataError with every problem of all files; `problems` receives the warnings."""
    found = Problems() if problems is None else problems
    records = list(read(paths, mapping, format, found))
    found.raise_errors()
    return records


def files(paths: Paths) -> list[tuple[Path, str]]:
    """The files that `paths` name, each with its name for messages; folders are searched for documents.

    Raises UsageError naming every path that does not exist.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    if "" in named:
        raise UsageError("The name of a file is empty.", "Name a file.")
    places = [(_local(str(path)), str(path)) for path in named]
    if not places:
        raise UsageError("No file was given.", "Name at least one file.")
    missing = [_missing(path, name) for path, name in places if not path.exists()]
    if missing:
        raise UsageError(" ".join(missing), "Check the path.")
    return [found for path, name in places for found in (_documents(path) if path.is_dir() else [(path, name)])]


def _local(name: str) -> Path:
    location = Location.parse(name)
    if location.scheme != "file":
        raise UsageError(f"Data cannot be read from {name}.", "Give a file on this machine.")
    return Path(location.rest)


def _missing(path: Path, name: str) -> str:
    siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = did_you_mean(path.name, siblings)
    return f"{name} does not exist." + (f" {hint}" if hint.startswith("Did") else "")


def file_type(path: Path) -> str:
    """The key in CONTAINERS: "jsonl" for rows.jsonl.gz."""
    return bare_suffix(path).removeprefix(".")


def container_of(path: Path, name: str) -> str:
    """The file type of a file that is to be read. Raises UsageError where its name does not say it."""
    if not file_type(path):
        raise UsageError(
            f"The name of {name} does not say of what type the file is.",
            f"End it in one of .{', .'.join(sorted(CONTAINERS))}.",
        )
    return file_type(path)


def _documents(folder: Path) -> list[tuple[Path, str]]:
    """Text and Markdown files below a folder. Tables in it must be named: a folder may mix training and test rows."""
    inside = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    tables = [path for path in inside if file_type(path) in CONTAINERS and file_type(path) not in DOCUMENTS]
    if CERTIFICATE in [path.name for path in tables]:
        raise UsageError(
            f"The folder {folder} is a split.", f"Name one of its parts, for instance {folder / 'train.jsonl'}."
        )
    if tables:
        raise UsageError(
            f"The folder {folder} holds tables: {', '.join(path.name for path in tables[:5])}.",
            "Name the files: a folder may mix training and test rows. Folders are read for .txt and .md files only.",
        )
    documents = [(path, str(path)) for path in inside if file_type(path) in DOCUMENTS]
    if not documents:
        raise UsageError(
            f"The folder {folder} holds no .{', .'.join(DOCUMENTS)} files.", "Give another folder, or files."
        )
    return documents


def _read_file(
    path: Path, name: str, mapping: Mapping | None, shape: Shape | None, problems: Problems
) -> Iterator[Record]:
    errors = problems.errors
    rows = CONTAINERS.load(container_of(path, name))(path, name, problems)
    head = list(islice(rows, SNIFFED_ROWS if mapping is None else 1))
    if not head:
        if problems.errors == errors:
            problems.add("empty-file", Origin(name, 0), "no rows")
        return
    parser = parser_of(head, mapping, shape, problems)
    if parser is not None:
        parsed = (parser.parse(row, problems) for row in chain(head, rows))
        yield from (record for record in parsed if record is not None)


@dataclass(frozen=True)
class RowParser:
    """How the rows of one file become records: by a mapping, or in the format called `shape`; picklable.

    given: the user said the format, so that rows of another one are read as broken rows of this one.
    """

    mapping: Mapping | None
    shape: str = ""
    given: bool = False

    def parse(self, row: Row, problems: Problems) -> Record | None:
        """The record in a row, or None after reporting what is wrong with it."""
        site = Site(problems, row.origin)
        if self.mapping is not None:
            return apply(self.mapping, row.values, site)
        shape = SHAPES.load(self.shape)
        other = None if self.given or shape.accepts(row.values) else sniff([row])
        if other is None:
            return shape.parse(row.values, site)
        site.add("format-mismatch", f"a row of format {other.name} in a file of format {shape.name}")
        return None


def parser_of(
    head: Sequence[Row], mapping: Mapping | None, shape: Shape | None, problems: Problems
) -> RowParser | None:
    """The parser of a file whose first rows are `head`, or None after reporting that their format is not known."""
    if mapping is not None:
        return RowParser(mapping)
    chosen = shape or sniff(head)
    if chosen is not None:
        return RowParser(None, chosen.name, shape is not None)
    columns = ", ".join(map(shortened, islice(head[0].values, SHOWN_COLUMNS)))
    more = f" and {len(head[0].values) - SHOWN_COLUMNS:,} more" if len(head[0].values) > SHOWN_COLUMNS else ""
    message = f"the columns are: {columns}{more}. {_nearest_format(head[0])}".strip()
    problems.add("unknown-format", head[0].origin, message)
    return None


def sniff(rows: Sequence[Row]) -> Shape | None:
    """The format that accepts most of the rows; among equals the one whose marks most rows have, then the first."""
    accepted: Counter[str] = Counter()
    matched: Counter[str] = Counter()
    shapes = {name: SHAPES.load(name) for name in SHAPES}
    for row in rows:
        accepted.update(name for name, shape in shapes.items() if shape.accepts(row.values))
        matched.update(name for name, shape in shapes.items() if shape.matches(row.values))
    best = max(shapes, key=lambda name: (matched[name] > 0, accepted[name], matched[name]))
    return shapes[best] if matched[best] else None


def _nearest_format(row: Row) -> str:
    """A hint at a mistyped key: the format of which one key is missing, and the column that looks most like it."""
    candidates = []
    for name in SHAPES:
        example = SHAPES.load(name).example
        absent = [key for key in example if key not in row.values]
        for column in islice(row.values, SHOWN_COLUMNS) if len(absent) == 1 else ():
            likeness = SequenceMatcher(None, absent[0], str(column)).ratio()
            candidates.append((likeness if column not in example else 0.0, name, absent[0], column))
    likeness, name, key, column = max(candidates, default=(0.0, "", "", ""))
    return f"The format {name} needs {key!r}. Did you mean: {column}?" if likeness >= SIMILAR_KEY else ""
