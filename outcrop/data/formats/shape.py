"""What every record format gives, and the checks of single fields that they share."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import islice
from typing import Any

from outcrop.core.errors import UsageError, did_you_mean
from outcrop.data.formats.json_text import SHOWN_KEYS, shortened, type_name
from outcrop.data.problems import Site
from outcrop.data.records import Conversation, Record

MISSING = object()
UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Shape(ABC):
    """A record format: how one row is recognised, read and written.

    name: as users say it; example: a row of this format; keys: those it reads, the others go to `Record.fields`.
    """

    name: str
    example: Mapping[str, Any]
    keys: tuple[str, ...]

    @abstractmethod
    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has the marks of this format; its values may still be wrong."""

    def accepts(self, row: Mapping[str, Any]) -> bool:
        """Whether the row may stand in a file of this format: it matches, or lacks only what is optional."""
        return self.matches(row)

    @abstractmethod
    def parse(self, row: Mapping[str, Any], site: Site) -> Record | None:
        """The record in the row, or None after reporting every error in it."""

    @abstractmethod
    def write(self, record: Record) -> dict[str, Any]:
        """The record as a row, without its `fields`. Raises UsageError if the format cannot hold it."""


def other_fields(row: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The columns of a row that its format does not read."""
    return {key: value for key, value in row.items() if key not in keys}


def get(row: Mapping[str, Any], key: str, within: str, site: Site) -> Any:
    """The value at `key`, or MISSING after reporting that. within: the field that holds the row, if any."""
    if key in row:
        return row[key]
    shown = map(shortened, islice(row, SHOWN_KEYS))
    hint = did_you_mean(key, shown, "There are") if row else "The object is empty."
    site.add("missing-field", f"no {key!r}. {hint}", _join(within, key))
    return MISSING


def get_text(row: Mapping[str, Any], key: str, site: Site, within: str = "") -> str | None:
    """The text at `key`, or None after reporting that it is missing or unusable."""
    value = get(row, key, within, site)
    return None if value is MISSING else check_text(value, _join(within, key), site)


def _join(within: str, key: str) -> str:
    return f"{within}.{key}" if within else key


def check_text(value: Any, field: str, site: Site, *, empty_allowed: bool = False) -> str | None:
    """The value if it is a usable text, or None after reporting why not."""
    if value is None:
        site.add("null-content", "null instead of a text", field)
        return None
    if not isinstance(value, str):
        site.add("wrong-type", f"expected a text, got {type_name(value)}", field)
        return None
    if not value.strip() and not (empty_allowed and not value):
        if value:
            site.add("whitespace-only", f"{len(value)} characters of white space", field)
        else:
            site.add("empty-content", "an empty text", field)
        return None
    return value if check_characters(value, field, site) else None


def check_characters(text: str, field: str, site: Site) -> bool:
    """Whether a text holds only characters that can be learned and stored; control characters are only warned of."""
    match = UNFIT.search(text)
    if match is None:
        return True
    if "\x00" in text:
        site.add("nul-character", f"NUL at position {text.index(chr(0)) + 1}", field)
        return False
    surrogate = re.search("[\ud800-\udfff]", text)
    if surrogate:
        site.add("lone-surrogate", f"U+{ord(surrogate.group()):04X} at position {surrogate.start() + 1}", field)
        return False
    site.add("control-character", f"U+{ord(match.group()):04X} at position {match.start() + 1}", field)
    return True


def refuse(shape: str, record: Record, reason: str = "") -> UsageError:
    """The error of a `write` that cannot hold the record."""
    kind = type(record).__name__.lower()
    return UsageError(
        f"The format {shape} cannot hold this {kind}{reason}.", "Choose another format.", str(record.origin)
    )


def check_weights(shape: str, record: Conversation) -> None:
    """Refuse to write turns with a weight in a format that has none."""
    if any(message.weight != 1 for message in record.messages):
        raise refuse(shape, record, ": it has turns with weight 0")
