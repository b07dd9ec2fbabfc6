"""Static inference: answers that were computed once and published, found by what is asked before any model is."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple, Self

from outcrop.core.completions import Completion, Sampling
from outcrop.data.records import Conversation, Record, prompt_text
from outcrop.generation.batch.requests import answer_text, canonical, outcome_from
from outcrop.store.lookups import LookupEntry, LookupTable, tables


class Keys(NamedTuple):
    """Digests of what is asked, of which model and how: of the exact texts, and of the texts normalised."""

    exact: bytes
    normalised: bytes


class Lookup:
    """The published answers of one model. model: the digest of its folder and of how it is asked (asking_digest).

    sampling, in all methods: without the model's own stop ids. Texts are equal when normalised if they differ in case,
    in white space, or in forms of characters that Unicode calls compatible (NFKC) only.
    """

    def __init__(self, folder: Path, model: str) -> None:
        """Open all tables of a folder. Raises StoreUnavailable for one that cannot be used."""
        self._tables: list[LookupTable] = tables(folder) if folder.is_dir() else []
        self._model = model

    def find(self, record: Record, sampling: Sampling) -> Completion | None:
        """The published answer to a prompt, exact ones of all tables first; `published` names its table. Hits count."""
        keys = lookup_keys(self._model, record, sampling)
        ways = [(table, table.find_exact, keys.exact) for table in self._tables]
        ways += [(table, table.find_normalised, keys.normalised) for table in self._tables]
        for table, find, key in ways:
            text = find(key)
            outcome = outcome_from(text) if text is not None else []
            if isinstance(outcome, list) and outcome:
                return replace(outcome[0], published=table.name)
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        for table in self._tables:
            table.close()


def lookup_entry(model: str, record: Record, sampling: Sampling, answer: Completion) -> LookupEntry:
    """What is published of an answer."""
    return LookupEntry(*lookup_keys(model, record, sampling), answer_text([answer]))


def lookup_keys(model: str, record: Record, sampling: Sampling) -> Keys:
    """The keys under which an answer of that model is published, and found."""
    turns = [(turn.role, turn.content) for turn in record.messages] if isinstance(record, Conversation) else []
    parts: list[tuple[str, str]] = [*turns] or [("prompt", prompt_text(record))]
    how = asdict(canonical(sampling))

    def digest(texts: list[tuple[str, str]]) -> bytes:
        return hashlib.sha256(json.dumps([model, texts, how], sort_keys=True).encode()).digest()

    return Keys(digest(parts), digest([(role, normalised(text)) for role, text in parts]))


def normalised(text: str) -> str:
    """The text without differences of case, white space and forms of characters."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
