"""Anonymise: personal data and secrets are counted, masked, replaced, or their rows dropped, in completions too."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

from outcrop.data.anonymise.anonymiser import Anonymiser
from outcrop.data.anonymise.findings import TYPES
from outcrop.data.anonymise.record_texts import texts
from outcrop.data.anonymise.spec import AnonymiseSpec
from outcrop.data.records import Record
from outcrop.data.steps.step import NO_TOOLS, Change, Outcome, RowStep, Tools

STILL_FOUND = "still-found"


class Anonymise(RowStep[AnonymiseSpec]):
    """Takes personal data out of texts, or out of the set with their rows. What was there is never written down."""

    spec_type = AnonymiseSpec
    reasons: ClassVar = {"personal-data": "the row holds personal data and the mode is drop"}
    notes: ClassVar = TYPES | {STILL_FOUND: "a last search found personal data after masking"}

    def __init__(self, spec: AnonymiseSpec | None = None, tools: Tools = NO_TOOLS) -> None:
        super().__init__(spec, tools)
        self._anonymiser = Anonymiser(self.spec)

    @classmethod
    def files_of(cls, spec: AnonymiseSpec) -> list[Path]:
        """The key, where one is given."""
        return [Path(spec.key_file)] if spec.key_file else []

    def __call__(self, record: Record) -> Outcome:
        """The record as the mode wants it; the findings by type as notes."""
        done = self._anonymiser(record)
        found = Counter(finding.type for finding in done.findings)
        if done.dropped:
            named = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
            return Outcome.dropped("personal-data", named)
        if self.spec.mode != "report" and done.left:
            found[STILL_FOUND] = len(done.left)
        types: dict[str, set[str]] = {}
        for made in done.replacements:
            types.setdefault(made.field, set()).add(made.type)
        changes = [
            Change(part.field, tuple(sorted(types[part.field])), None, part.text)
            for part in texts(done.record)
            if part.field in types
        ]
        return Outcome(done.record, tuple(changes), notes=found)
