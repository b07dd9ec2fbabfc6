"""Every text of a record, those in its other columns too, taken out in order and put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from outcrop.data.records import Conversation, Pair, Part, Record, Text, parts

FIELDS = "fields"


def texts(record: Record) -> list[Part]:
    """The texts of a record under their names, then the strings of its other columns: "fields.customer.name"."""
    return parts(record) + list(_strings(record.fields, FIELDS))


def with_texts(record: Record, changed: Sequence[str]) -> Record:
    """The record with other texts, in the order of `texts`."""
    left = iter(changed)
    if isinstance(record, Pair):
        return replace(record, prompt=next(left), completion=next(left), fields=_rebuilt(record.fields, left))
    if isinstance(record, Text):
        return replace(record, text=next(left), fields=_rebuilt(record.fields, left))
    messages = tuple(replace(message, content=next(left)) for message in record.messages)
    return replace(record, messages=messages, fields=_rebuilt(record.fields, left))


def is_answer(record: Record, field: str) -> bool:
    """Whether a field, as `texts` names it, is one that a model learns to write."""
    if isinstance(record, Conversation):
        return field.startswith("assistant turn")
    return field == ("completion" if isinstance(record, Pair) else "text")


def _strings(value: Any, path: str) -> Iterator[Part]:
    if isinstance(value, str):
        yield Part(path, value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            plain = isinstance(key, str) and key.isidentifier()
            yield from _strings(inner, f"{path}.{key}" if plain else f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _strings(inner, f"{path}[{index}]")


def _rebuilt(value: Any, left: Iterator[str]) -> Any:
    if isinstance(value, str):
        return next(left)
    if isinstance(value, Mapping):
        return {key: _rebuilt(inner, left) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_rebuilt(inner, left) for inner in value)
    return value
