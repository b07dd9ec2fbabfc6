"""Explicit lazy catalogs: a table `name → "module:object"`. Names are known without importing what they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Generic, TypeVar, cast

from outcrop.core.errors import UsageError, did_you_mean

T = TypeVar("T")


class Catalog(Generic[T]):
    """A table of named things, imported on first use.

    kind: the word for an entry in messages ("metric", "data format");
    table: name → "module:object"; names are unique because they are keys of one literal table.
    """

    def __init__(self, kind: str, table: Mapping[str, str]) -> None:
        self.kind = kind
        self._table = dict(table)
        self._loaded: dict[str, T] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def load(self, name: str) -> T:
        """Import and return the entry. Raises UsageError for an unknown name, with a suggestion."""
        if name not in self._table:
            raise UsageError(f"Unknown {self.kind}: {name}.", did_you_mean(name, self._table))
        if name not in self._loaded:
            module, _, attribute = self._table[name].partition(":")
            self._loaded[name] = cast(T, getattr(import_module(module), attribute))
        return self._loaded[name]
