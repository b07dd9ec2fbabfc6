"""Words that stand for a group of people: to slice rows by, and to exchange in counterfactual rows."""

from __future__ import annotations

import tomllib
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from outcrop.core.errors import UsageError
from outcrop.core.spec import Spec, describe, parameter
from outcrop.data.language import WORD


class Swap(Spec):
    """Words and names to exchange, each with its counterpart, in both directions."""

    words: tuple[tuple[str, str], ...] = parameter((), "pairs, whatever the case")
    names: tuple[tuple[str, str], ...] = parameter((), "pairs, written with a capital letter")


class Terms(Spec):
    """A file of terms."""

    slices: dict[str, dict[str, tuple[str, ...]]] = parameter({}, "kind → group → words")
    swaps: dict[str, Swap] = parameter({}, "kind → pairs")

    @cached_property
    def _groups_of(self) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for kind, groups in self.slices.items():
            for group, words in groups.items():
                for word in words:
                    found.setdefault(word.lower(), []).append((kind, group))
        return found

    def groups(self, text: str) -> dict[str, set[str]]:
        """The groups that a text names: kind → groups; kinds of which it names none are left out."""
        found: dict[str, set[str]] = {}
        for word in set(WORD.findall(text.lower())) & self._groups_of.keys():
            for kind, group in self._groups_of[word]:
                found.setdefault(kind, set()).add(group)
        return found


def read_terms(path: Path | None = None) -> Terms:
    """The terms of a TOML file; without one those that come with Outcrop, which are English.

    Raises UsageError for a file that cannot be read, and for wrong or unknown names in it.
    """
    try:
        text = (files("outcrop.data") / "terms.toml").read_text("utf-8") if path is None else path.read_text("utf-8")
        values: dict[str, Any] = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "Give a TOML file with slices and swaps.") from None
    try:
        return Terms.model_validate(values)
    except ValidationError as error:
        raise UsageError(describe(error, Terms), where=str(path or "")) from None
