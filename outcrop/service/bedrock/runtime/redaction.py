"""Personal data and secrets out of records before they are stored, by the same rules as `outcrop data anonymise`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from outcrop.data.anonymise.anonymiser import Anonymiser
from outcrop.data.anonymise.spec import AnonymiseSpec
from outcrop.data.records import Conversation, Message

KEPT = frozenset({
    "role", "type", "id", "object", "model", "schemaVersion", "anthropic_version", "stopReason", "stop_reason",
    "finish_reason", "completionReason", "requestId",
})  # fmt: skip
"""Fields whose values are words of the format, not of people."""


class Redaction:
    """Masks what is found; the same value gets the same mask in all texts of one record."""

    def __init__(self, spec: AnonymiseSpec | None = None) -> None:
        """Raises MissingDependency without the extra `anonymise`."""
        self._anonymiser = Anonymiser(spec or AnonymiseSpec())

    def __call__(self, value: Any) -> Any:
        """The JSON value with all its texts masked."""
        texts = list(_texts(value))
        if not texts:
            return value
        record = Conversation(tuple(Message("user", text) for text in texts))
        masked = self._anonymiser(record).record
        assert isinstance(masked, Conversation), "a record changed its type"
        return _with_texts(value, iter([turn.content for turn in masked.messages]))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            if name not in KEPT:
                yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _with_texts(value: Any, texts: Iterator[str]) -> Any:
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, dict):
        return {name: part if name in KEPT else _with_texts(part, texts) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(part, texts) for part in value]
    return value
