"""Finds personal data in one record and masks it, replaces it, or drops the record; then looks again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from outcrop.core.errors import UsageError
from outcrop.data.anonymise.fakes import Fakes
from outcrop.data.anonymise.findings import Finding, Recogniser, placeholders, without_overlaps
from outcrop.data.anonymise.gazetteer import COMMON, fold, words
from outcrop.data.anonymise.recognisers.catalog import recognisers
from outcrop.data.anonymise.record_texts import is_answer, texts, with_texts
from outcrop.data.anonymise.repeats import Value, repeated
from outcrop.data.anonymise.spec import AnonymiseSpec
from outcrop.data.anonymise.surrogates import Keyed, Numbered, Surrogates
from outcrop.data.records import Record

SHORTEST_KEY = 16
MAKE_KEY = "Make one and keep it apart from the data: openssl rand -hex 32 > key"
ROUNDS = 3
"""What one finding hid can show once it is gone, so changed texts are searched again, this often at most."""

SHORTEST_REPEATED = 4
WORD = re.compile(r"[^\W\d_]{3,}")

Span = tuple[int, int]


class Replacement(NamedTuple):
    """A value that was replaced: text[start:end] of the new record's `field` is the surrogate."""

    type: str
    field: str
    start: int
    end: int
    original: str
    surrogate: str


@dataclass(frozen=True, slots=True)
class Anonymised:
    """A record after anonymising.

    findings: by field, in the order of the text, with places in the given record; replacements: what was put where
    in the new one; left: what a last search still finds in it; dropped: whether the row is to be left out.
    """

    record: Record
    findings: tuple[Finding, ...]
    replacements: tuple[Replacement, ...] = ()
    left: tuple[Finding, ...] = ()
    dropped: bool = False

    @property
    def changed_answers(self) -> int:
        """How many of the replaced values stood in a text that a model learns to write."""
        return sum(is_answer(self.record, made.field) for made in self.replacements)


@dataclass(slots=True)
class Draft:
    """One text on its way: as it is now, and what was replaced in it."""

    field: str
    text: str
    done: list[Replacement]

    def protected(self) -> list[Span]:
        """Where nothing is looked for any more."""
        return [(made.start, made.end) for made in self.done]


class Anonymiser:
    """Applied to one record at a time; holds no record, so that work can be shared among processes (picklable).

    model: finds more than the built-in recognisers, see `Recogniser`. The same record always has the same outcome; with
    a key in `spec.key_file` the same value has the same surrogate in all records. Raises UsageError for a key file that
    cannot be used or is missing where one is needed, MissingDependency without the extra `anonymise`.
    """

    def __init__(self, spec: AnonymiseSpec, model: Recogniser | None = None) -> None:
        self.spec = spec
        self._recognisers = [*recognisers(spec), *([model] if model else [])]
        if spec.mode == "replace" and not spec.key_file:
            raise UsageError(
                "Made-up values need a key: without one they could be traced back.",
                f"{MAKE_KEY}; then name it with --key-file.",
            )
        self._key = read_key(spec.key_file) if spec.key_file else b""
        self._kept = {" ".join(value.casefold().split()) for value in spec.keep}

    def find(self, text: str) -> list[Finding]:
        """What counts in one text: asked for, sure enough, not kept, not a placeholder, without overlaps."""
        return self._chosen(text, (each for recogniser in self._recognisers for each in recogniser.find(text)), [])

    def __call__(self, record: Record) -> Anonymised:
        """The record as the mode wants it. In the modes report and drop it is the given one."""
        drafts = [Draft(part.field, part.text, []) for part in texts(record)]
        found = self._search(drafts)
        if not found or self.spec.mode in ("report", "drop"):
            return Anonymised(record, tuple(found), left=tuple(found), dropped=self.spec.mode == "drop" and bool(found))
        surrogates = self._surrogates(drafts)
        left = found
        for _ in range(ROUNDS):
            _replace(drafts, left, surrogates)
            left = self._search(drafts)
            if not left:
                break
        made = with_texts(record, [draft.text for draft in drafts])
        return Anonymised(made, tuple(found), tuple(each for draft in drafts for each in draft.done), tuple(left))

    def _surrogates(self, drafts: Sequence[Draft]) -> Surrogates:
        if self.spec.mode == "replace":
            return Fakes(self._key)
        return Keyed(self._key) if self._key else Numbered(draft.text for draft in drafts)

    def _search(self, drafts: Sequence[Draft]) -> list[Finding]:
        """All findings of a record, and the other places where their values stand in it."""
        by_field = [self._found_in(draft) for draft in drafts]
        values = _values(drafts, by_field)
        if values:
            for index, draft in enumerate(drafts):
                again = repeated(draft.text, values)
                by_field[index] = self._chosen(draft.text, [*by_field[index], *again], draft.protected())
        return [
            each._replace(field=draft.field) for draft, found in zip(drafts, by_field, strict=True) for each in found
        ]

    def _found_in(self, draft: Draft) -> list[Finding]:
        found = (each for recogniser in self._recognisers for each in recogniser.find(draft.text))
        return self._chosen(draft.text, found, draft.protected())

    def _chosen(self, text: str, found: Iterable[Finding], protected: Sequence[Span]) -> list[Finding]:
        wanted = [each for each in found if each.score >= self.spec.min_score and each.type in self.spec.types]
        if not wanted:
            return []
        closed = [*protected, *placeholders(text)]
        free = [
            each
            for each in wanted
            if not any(each.start < end and start < each.end for start, end in closed)
            and " ".join(text[each.start : each.end].casefold().split()) not in self._kept
        ]
        return without_overlaps(free)


def read_key(path: str) -> bytes:
    """The secret in a file. Raises UsageError if it cannot be read or is too short to be one."""
    try:
        key = Path(path).expanduser().read_bytes().strip()
    except OSError as error:
        raise UsageError(f"The key file {path} cannot be read: {error.strerror}.", "Give another file.") from None
    if len(key) < SHORTEST_KEY:
        raise UsageError(f"The key in {path} has {len(key)} bytes; {SHORTEST_KEY} are needed.", MAKE_KEY)
    return key


def _values(drafts: Sequence[Draft], found: Sequence[Sequence[Finding]]) -> list[Value]:
    """What may be repeated elsewhere: each value, and of names each word that is nothing else."""
    values: dict[str, Value] = {}
    for draft, findings in zip(drafts, found, strict=True):
        for each in findings:
            value = draft.text[each.start : each.end]
            if len(value) >= SHORTEST_REPEATED:
                values.setdefault(value.casefold(), Value(value.casefold(), each.type, each.score))
            for word in WORD.findall(value) if each.type == "name" and " " in value else ():
                if COMMON not in words().get(fold(word), "") and word[0].isupper():
                    values.setdefault(word.casefold(), Value(word.casefold(), "name", each.score))
    return list(values.values())


def _replace(drafts: Sequence[Draft], found: Sequence[Finding], surrogates: Surrogates) -> None:
    """Put the surrogates in place, first to last, so that placeholders are numbered in the order of reading."""
    for draft in drafts:
        here = [each for each in found if each.field == draft.field]
        if not here:
            continue
        pieces: list[str] = []
        made: list[Replacement] = []
        position = shift = 0
        for each in here:
            value = draft.text[each.start : each.end]
            surrogate = surrogates.of(each, value)
            pieces += [draft.text[position : each.start], surrogate]
            start = each.start + shift
            made.append(Replacement(each.type, draft.field, start, start + len(surrogate), value, surrogate))
            shift += len(surrogate) - len(value)
            position = each.end
        moved = [_moved(old, here, made) for old in draft.done]
        draft.text = "".join([*pieces, draft.text[position:]])
        draft.done = sorted([*moved, *made], key=lambda each: each.start)


def _moved(old: Replacement, found: Sequence[Finding], made: Sequence[Replacement]) -> Replacement:
    """An earlier replacement at the place where it stands after later ones before it."""
    shift = sum(
        len(new.surrogate) - len(new.original) for each, new in zip(found, made, strict=True) if each.end <= old.start
    )
    return old._replace(start=old.start + shift, end=old.end + shift)
