"""Enrich: columns of another file are joined to rows, and stand in prompts, as completions, or for later conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from outcrop.core.errors import DataError, UsageError, did_you_mean
from outcrop.core.spec import Spec, parameter
from outcrop.data.formats.catalog import CONTAINERS
from outcrop.data.formats.container import Row
from outcrop.data.mapping import PLACEHOLDER, fill
from outcrop.data.problems import Problems
from outcrop.data.reading import container_of
from outcrop.data.records import Conversation, Message, Pair, Record, Text, prompt_text
from outcrop.data.steps.step import Change, Outcome, RowStep

JOINED, TEMPLATE, COMPLETION, SYSTEM = "joined", "template", "completion", "system"


class EnrichSpec(Spec):
    """What is added to each row."""

    join: str = parameter("", "file of which columns are joined: one row for each value of `on`")
    on: str = parameter("id", "column by which rows are joined; OURS=THEIRS where the names differ")
    columns: tuple[str, ...] = parameter((), "columns of the file that are joined; all where none is named")
    unmatched: Literal["refuse", "drop", "keep"] = parameter(
        "refuse", "what becomes of rows that the file does not have"
    )
    completion: str = parameter("", "column that becomes the completion of a text without one")
    template: str = parameter("", "text of the prompt with columns in braces, {prompt} for the prompt as it is")
    system: str = parameter("", "system message of rows without one; pairs become conversations")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.columns and not self.join:
            raise ValueError("columns are named, and no file to join them from; give join")
        if not all(part.strip() for part in self.on.split("=")) or self.on.count("=") > 1:
            raise ValueError(f"on is {self.on!r}; write COLUMN or OURS=THEIRS")
        for match in PLACEHOLDER.finditer(self.template):
            if match.group() not in ("{{", "}}") and not match[1]:
                raise ValueError(f"the template has a lone {match.group()!r}; write {{{{ or }}}} for a brace")
            if match[1] and match[1] in ("completion", self.completion):
                raise ValueError(f"the template would show the answer in the prompt: {match.group()}")
        return self

    @property
    def keys(self) -> tuple[str, str]:
        """The column to join by, as the rows call it and as the file does."""
        ours, _, theirs = (part.strip() for part in self.on.partition("="))
        return ours, theirs or ours


class Enrich(RowStep[EnrichSpec]):
    """Adds to rows what stands elsewhere. What a model has to write is made by `outcrop data synthesise`."""

    spec_type = EnrichSpec
    reasons: ClassVar = {
        "unmatched": "the joined file has no row for this one",
        "no-value": "a column that the template or the completion needs is absent or empty",
    }
    notes: ClassVar = {
        JOINED: "columns were joined",
        TEMPLATE: "the prompt was written by the template",
        COMPLETION: "a column became the completion",
        SYSTEM: "a system message was added",
        "unmatched": "the joined file has no row for this one, which is kept as it is",
        "replaced-column": "a joined column took the place of one of the row",
        "has-system": "the row has a system message of its own, which stays",
    }

    @classmethod
    def files_of(cls, spec: EnrichSpec) -> list[Path]:
        """The file that is joined."""
        return [Path(spec.join)] if spec.join else []

    def check_inputs(self, names: Any) -> None:
        """Refuse a file that cannot be joined, before any row is read. Raises UsageError and DataError."""
        if self.spec.join:
            _table(self.spec.join, self.spec.keys[1], self.spec.columns)

    def __call__(self, record: Record) -> Outcome:
        """The record with what is added. Raises DataError for a row without a partner where that is refused."""
        notes = Counter[str]()
        if self.spec.join:
            found = self._partner(record)
            if found is None and self.spec.unmatched == "drop":
                return Outcome.dropped("unmatched", self._said(record))
            notes["unmatched" if found is None else JOINED] += 1
            notes["replaced-column"] += len(set(found or ()) & set(record.fields))
            record = replace(record, fields={**record.fields, **(found or {})})
        changes = []
        for change_of in (self._completed, self._templated, self._with_system):
            done = change_of(record, notes)
            if isinstance(done, str):
                return Outcome.dropped("no-value", done)
            record, change = done
            changes += [change] if change else []
        return Outcome(record, tuple(changes), notes=+notes)

    def _said(self, record: Record) -> str:
        ours, _ = self.spec.keys
        if ours in record.fields:
            return f"{ours} is {record.fields[ours]!r}"
        others = ", ".join(sorted(map(str, record.fields))) or "none"
        return f"the row has no column {ours} beside its texts (it has: {others})"

    def _partner(self, record: Record) -> Mapping[str, Any] | None:
        ours, theirs = self.spec.keys
        found = _table(self.spec.join, theirs, self.spec.columns).get(str(record.fields.get(ours, "")))
        if found is None and self.spec.unmatched == "refuse":
            raise DataError(
                f"{record.origin}: {self.spec.join} has no row for it: {self._said(record)}.",
                "Add it, or let such rows go or stay: --set enrich.unmatched=drop or keep.",
            )
        return found

    def _completed(self, record: Record, notes: Counter[str]) -> tuple[Record, Change | None] | str:
        name = self.spec.completion
        if not name:
            return record, None
        if not isinstance(record, Text):
            raise DataError(f"{record.origin} has an answer already.", "Leave enrich.completion out.")
        value = _text(record, name)
        if value is None:
            return name
        notes[COMPLETION] += 1
        rest = {key: each for key, each in record.fields.items() if key != name}
        return Pair(record.text, value, record.origin, rest), Change("completion", (COMPLETION,), None, value)

    def _templated(self, record: Record, notes: Counter[str]) -> tuple[Record, Change | None] | str:
        if not self.spec.template:
            return record, None
        if isinstance(record, Conversation):
            raise DataError(f"{record.origin} is a conversation, and enrich.template writes prompts.", "Leave it out.")
        values = {"prompt": prompt_text(record)}
        for match in PLACEHOLDER.finditer(self.spec.template):
            if match[1] and match[1] not in values:
                value = _text(record, match[1])
                if value is None:
                    return str(match[1])
                values[match[1]] = value
        made = fill(self.spec.template, values)
        notes[TEMPLATE] += 1
        if isinstance(record, Text):
            return replace(record, text=made), Change("text", (TEMPLATE,), record.text, made)
        return replace(record, prompt=made), Change("prompt", (TEMPLATE,), record.prompt, made)

    def _with_system(self, record: Record, notes: Counter[str]) -> tuple[Record, Change | None] | str:
        if not self.spec.system:
            return record, None
        if isinstance(record, Text):
            raise DataError(f"{record.origin} is a text without turns, which has no system message.", "Leave it out.")
        turns = record.messages if isinstance(record, Conversation) else (
            Message("user", record.prompt), Message("assistant", record.completion)
        )  # fmt: skip
        if turns[0].role == "system":
            notes["has-system"] += 1
            return record, None
        notes[SYSTEM] += 1
        made = Conversation((Message("system", self.spec.system), *turns), record.origin, record.fields)
        return made, Change("system", (SYSTEM,), None, self.spec.system)


def _text(record: Record, name: str) -> str | None:
    """A column as text; None where there is none."""
    value = record.fields.get(name)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) and str(value).strip() else None


@lru_cache(maxsize=4)
def _table(path: str, key: str, columns: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The rows of a file by the text of their key. Raises UsageError, and DataError with every key that is twice."""
    if not Path(path).is_file():
        raise UsageError(f"There is no file {path} to join.", "Check the path.")
    problems = Problems()
    rows: list[Row] = list(CONTAINERS.load(container_of(Path(path), path))(Path(path), path, problems))
    problems.raise_errors()
    known = dict.fromkeys(name for row in rows for name in row.values)
    if missing := [name for name in (key, *columns) if name not in known]:
        hint = did_you_mean(missing[0], known, "There are")
        raise UsageError(f"{path} has no column {' and no '.join(missing)}.", hint)
    found: dict[str, dict[str, Any]] = {}
    twice = []
    for row in rows:
        value = str(row.values.get(key, ""))
        if value in found:
            twice.append(f"{row.origin}: {key} is {value!r} again")
        found[value] = {name: row.values[name] for name in columns or known if name != key and name in row.values}
    if twice:
        more = f"; … and {len(twice) - 5:,} more" if len(twice) > 5 else ""
        raise DataError(f"{'; '.join(twice[:5])}{more}.", "Each row to join needs a key of its own.")
    return found
