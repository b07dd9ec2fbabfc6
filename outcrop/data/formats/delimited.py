"""CSV and TSV with a header. Cells may contain line breaks; a row's line is the physical line where it begins."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

from outcrop.data.formats import container
from outcrop.data.formats.container import Line, Row, decode, lines, opened
from outcrop.data.problems import Problems
from outcrop.data.records import Origin


def csv_rows(path: Path, name: str, problems: Problems) -> Iterator[Row]:
    """The rows of a .csv file, separated by commas, or by semicolons where the header has no comma."""
    return _rows(path, name, problems, separator=None)


def tsv_rows(path: Path, name: str, problems: Problems) -> Iterator[Row]:
    """The rows of a .tsv file, separated by tabs."""
    return _rows(path, name, problems, separator="\t")


class _Text:
    """Lines as text for the csv module, which reads as many as a row needs; knows the state of the row being read."""

    def __init__(self, source: Iterator[Line], problems: Problems) -> None:
        self._source, self._problems = source, problems
        self._damaged = self._blank = False
        self._begin: Origin | None = None

    def __iter__(self) -> Iterator[str]:
        for line in self._source:
            self._begin = self._begin or line.origin
            text = decode(line.content, line.origin, self._problems)
            if text is not None and "\x00" in text:
                self._problems.add(
                    "nul-character", line.origin, f"NUL at position {text.index(chr(0)) + 1} of the line"
                )
                text = None
            self._damaged = self._damaged or text is None
            self._blank = text is not None and not text.strip()
            yield ("" if text is None else text) + "\n"

    def end_row(self) -> tuple[Origin | None, bool, bool]:
        """Where the row that was just read began, whether it is damaged, whether it is blank; the next row begins."""
        state = self._begin, self._damaged, self._blank
        self._begin, self._damaged = None, False
        return state


def _rows(path: Path, name: str, problems: Problems, separator: str | None) -> Iterator[Row]:
    csv.field_size_limit(container.MAX_BYTES)
    with opened(path, name, problems) as stream:
        text = _Text(lines(stream, name, problems), problems)
        source = iter(text)
        first = next(source, "")
        delimiter = separator or ("," if "," in first or ";" not in first else ";")
        reader = csv.reader(itertools.chain([first], source), delimiter=delimiter, strict=True)
        table = _cells(reader, text, problems)
        errors = problems.errors
        header, origin = next(table, ([], Origin(name, 1)))
        _check_header(header, origin, problems)
        if problems.errors > errors:  # without its header, no row can be read
            return
        for cells, origin in table:
            if len(cells) == len(header):
                yield Row(dict(zip(header, cells, strict=True)), origin)
            else:
                problems.add("ragged-row", origin, f"{len(cells)} cells, but the header has {len(header)}")


def _cells(reader: Iterator[list[str]], text: _Text, problems: Problems) -> Iterator[tuple[list[str], Origin]]:
    """Rows of cells with the line where each begins."""
    while True:
        error = ""
        try:
            cells = next(reader, None)
        except csv.Error as broken:
            cells, error = [], str(broken)
        origin, damaged, blank = text.end_row()
        if cells is None or origin is None:
            return
        if error and not damaged:
            problems.add("bad-csv", origin, error)
        elif not damaged and blank and not any(cells):
            problems.add("blank-line", origin, "nothing on this line")
        elif not damaged and not error:
            yield cells, origin


def _check_header(header: list[str], origin: Origin, problems: Problems) -> None:
    for name in sorted({name for name in header if header.count(name) > 1}):
        problems.add("duplicate-key", origin, f"two columns are called {name!r}", field=name)
