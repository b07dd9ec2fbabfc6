"""The files of a job's results: lines of JSON in the order of the rows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self

from outcrop.generation.batch.formats import OutputLine


class OutputFiles:
    """The results of one input file, as many files as its form has, each made when its first line is written.

    The first is always made, so that a file without answers has a result, too.
    """

    def __init__(self, folder: Path, name: str, suffixes: Sequence[str]) -> None:
        self._folder, self._name, self._first = folder, name, suffixes[0]
        self._files: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._open(self._first)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def names(self) -> list[str]:
        """The files that were made, within the folder."""
        return sorted(f"{self._name}{suffix}" for suffix in self._files)

    def write(self, line: OutputLine) -> None:
        """Add a line."""
        file = self._files.get(line.suffix) or self._open(line.suffix)
        file.write(json_line(line.values))

    def _open(self, suffix: str) -> BinaryIO:
        path = self._folder / f"{self._name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = self._stack.enter_context(path.open("wb"))
        self._files[suffix] = file
        return file


def json_line(values: dict[str, Any]) -> bytes:
    """A row as a line of JSON: what JSON has no form for (dates, bytes, of Parquet) as text, NaN as null."""
    try:
        return f"{json.dumps(values, ensure_ascii=False, allow_nan=False, default=str)}\n".encode()
    except UnicodeEncodeError:  # half of a character, which JSON can write as an escape only
        return f"{json.dumps(values, allow_nan=False, default=str)}\n".encode()
    except ValueError:
        return f"{json.dumps(_finite(values), allow_nan=False, default=str)}\n".encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value
