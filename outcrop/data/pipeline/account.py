"""The account of a preparation: per step the rows it got, kept, changed and dropped, by reason, with examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from outcrop.data.records import is_answer
from outcrop.data.steps.step import Outcome

EXAMPLES = 5
READ = "read"
"""The name under which rows that cannot be read are counted."""


@dataclass
class StepAccount:
    """What one step did. changed_texts: by code of the change; completions are counted apart."""

    rows: int = 0
    kept: int = 0
    changed_rows: int = 0
    changed_completions: int = 0
    changed_texts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def add(self, outcome: Outcome, place: str) -> None:
        """Count what happened to one row."""
        self.rows += 1
        self.kept += outcome.record is not None
        self.notes.update(outcome.notes)
        if outcome.changes:
            self.changed_rows += 1
            self.changed_completions += any(is_answer(change.field) for change in outcome.changes)
            for change in outcome.changes:
                self.changed_texts.update(change.codes)
        if outcome.drop is not None:
            self.drop(outcome.drop.code, place, outcome.drop.detail)

    def drop(self, code: str, place: str, detail: str) -> None:
        """Count a dropped row; the first ones of a code are kept as examples."""
        self.dropped[code] += 1
        examples = self.examples.setdefault(code, [])
        if len(examples) < EXAMPLES:
            examples.append(f"{place}: {detail}" if detail else place)

    def merge(self, other: StepAccount) -> None:
        """Add the account of the next shard."""
        for name in ("rows", "kept", "changed_rows", "changed_completions"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("changed_texts", "dropped", "notes"):
            getattr(self, name).update(getattr(other, name))
        for code, examples in other.examples.items():
            mine = self.examples.setdefault(code, [])
            mine += examples[: EXAMPLES - len(mine)]
        self.figures |= other.figures

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, codes by falling count."""
        return {
            "rows": self.rows,
            "kept": self.kept,
            "changed_rows": self.changed_rows,
            "changed_completions": self.changed_completions,
            "changed_texts": _ranked(self.changed_texts),
            "dropped": _ranked(self.dropped),
            "notes": _ranked(self.notes),
            "examples": dict(sorted(self.examples.items())),
            "figures": self.figures,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        counters = {name: Counter(values[name]) for name in ("changed_texts", "dropped", "notes")}
        return cls(**{**values, **counters})


Account = dict[str, StepAccount]
"""By the name of the step, in the order of the chain."""


def merge(accounts: Iterable[Account]) -> Account:
    """One account of many, in their order."""
    total: Account = {}
    for account in accounts:
        for name, step in account.items():
            total.setdefault(name, StepAccount()).merge(step)
    return total


def _ranked(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
