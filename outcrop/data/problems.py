"""Problems found in data, collected in constant memory and shown all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from outcrop.core.errors import DataError
from outcrop.data.defects import DEFECTS, Severity
from outcrop.data.records import Origin


@dataclass(frozen=True, slots=True)
class Problem:
    """One defect at one place. Line 0 means the file as a whole."""

    code: str
    severity: Severity
    origin: Origin
    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.origin.file}:{self.origin.line}" if self.origin.line else self.origin.file
        return f"{place}: {self.field + ': ' if self.field else ''}{self.message}"

    def as_dict(self) -> dict[str, Any]:
        """The example as JSON-ready fields; code and remedy stand once, at its group."""
        return {"file": self.origin.file, "line": self.origin.line, "field": self.field, "message": self.message}


@dataclass(slots=True)
class Group:
    """All problems of one code: their number, the first examples and the first line numbers per file."""

    count: int = 0
    examples: list[Problem] = field(default_factory=list)
    lines: dict[str, list[int]] = field(default_factory=dict)
    listed: int = 0


class Problems:
    """Collects problems by code.

    examples: how many are kept whole per code; max_lines: how many line numbers are kept per code.
    `rows_with_errors` counts rows, however many errors each has.
    """

    def __init__(self, examples: int = 5, max_lines: int = 1000) -> None:
        self._examples = examples
        self._max_lines = max_lines
        self._groups: dict[str, Group] = {}
        self._last_row: Origin | None = None
        self.rows_with_errors = 0
        self.errors = 0
        self.warnings = 0

    def add(self, code: str, origin: Origin, message: str, field: str = "") -> None:
        """Record one problem. code: a key of DEFECTS; message: what was found here, in a few words."""
        defect = DEFECTS[code]
        group = self._groups.setdefault(code, Group())
        group.count += 1
        if len(group.examples) < self._examples:
            group.examples.append(Problem(code, defect.severity, origin, field, message, defect.remedy))
        if group.listed < self._max_lines:
            group.listed += 1
            group.lines.setdefault(origin.file, []).append(origin.line)
        if defect.severity == "warning":
            self.warnings += 1
            return
        self.errors += 1
        if origin.line and origin != self._last_row:
            self._last_row = origin
            self.rows_with_errors += 1

    def __bool__(self) -> bool:
        return bool(self._groups)

    def count(self, code: str) -> int:
        """How many problems of this code were found."""
        return self._groups[code].count if code in self._groups else 0

    def examples(self) -> Iterator[Problem]:
        """The kept examples of all codes, errors first."""
        for code in self._codes():
            yield from self._groups[code].examples

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready fields, grouped by code, errors first, then the most frequent first."""
        return {
            "errors": self.errors,
            "warnings": self.warnings,
            "rows_with_errors": self.rows_with_errors,
            "problems": [self._group_dict(code) for code in self._codes()],
        }

    def lines(self, severity: Severity | None = None) -> list[str]:
        """The report as plain text lines; severity restricts it."""
        text = []
        for code in self._codes():
            defect, group = DEFECTS[code], self._groups[code]
            if severity not in (None, defect.severity):
                continue
            text.append(f"{defect.severity} {code} ({group.count:,}): {defect.meaning}. {defect.remedy}")
            text += [f"    {example}" for example in group.examples]
            if group.count > len(group.examples):
                text.append(f"    … and {group.count - len(group.examples):,} more")
        return text

    def raise_errors(self) -> None:
        """Raise DataError with the whole report if there are errors; warnings alone do not raise."""
        if not self.errors:
            return
        codes = sum(DEFECTS[code].severity == "error" for code in self._groups)
        kinds = f" of {codes} kinds" if codes > 1 else ""
        head = f"{self.errors:,} error{'s' if self.errors > 1 else ''}{kinds} in the data:"
        raise DataError("\n".join([head, *self.lines("error")]), report=self.as_dict())

    def _codes(self) -> list[str]:
        return sorted(self._groups, key=lambda code: (DEFECTS[code].severity, -self._groups[code].count, code))

    def _group_dict(self, code: str) -> dict[str, Any]:
        defect, group = DEFECTS[code], self._groups[code]
        return {
            "code": code,
            "severity": defect.severity,
            "count": group.count,
            "message": defect.meaning,
            "remedy": defect.remedy,
            "examples": [example.as_dict() for example in group.examples],
            "lines": group.lines,
            "lines_complete": group.listed == group.count,
        }


class Site:
    """Where the problems of one row are reported; knows whether it had errors."""

    __slots__ = ("_problems", "failed", "origin")

    def __init__(self, problems: Problems, origin: Origin) -> None:
        self._problems = problems
        self.origin = origin
        self.failed = False

    def add(self, code: str, message: str, field: str = "") -> None:
        """Record one problem of this row."""
        self._problems.add(code, self.origin, message, field)
        self.failed = self.failed or DEFECTS[code].severity == "error"
