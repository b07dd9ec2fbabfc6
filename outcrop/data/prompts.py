"""Prompts with or without answers, in every format that records have: what a teacher is asked.

A row without an answer is read by its format as if it had one, which is then taken away: so all that the format checks
is checked here, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice

from outcrop.core.errors import UsageError
from outcrop.data.formats.catalog import CONTAINERS, SHAPES
from outcrop.data.formats.container import Row
from outcrop.data.mapping import Mapping
from outcrop.data.problems import Problems
from outcrop.data.reading import SNIFFED_ROWS, Paths, container_of, files, parser_of
from outcrop.data.records import Conversation, Message, Pair, Record, Text
from outcrop.data.unanswered import PLACEHOLDER, filled


def read_prompts(
    paths: Paths, mapping: Mapping | None = None, format: str | None = None, problems: Problems | None = None
) -> Iterator[Record]:
    """Stream records whose answers may be missing: then a pair's completion is empty, or a conversation ends with the
    user. Texts become prompts. Arguments and errors are those of data.reading.read."""
    if mapping is not None and format is not None:
        raise UsageError("A format and a mapping were both given.", "Give one: a mapping makes the records itself.")
    found = Problems() if problems is None else problems
    shape = SHAPES.load(format) if format else None
    for path, name in files(paths):
        unread = CONTAINERS.load(container_of(path, name))(path, name, found)
        rows = (Row(filled(row.values, mapping, anew=False), row.origin) for row in unread)
        head = list(islice(rows, SNIFFED_ROWS))
        parser = parser_of(head, mapping, shape, found) if head else None
        if parser is not None:
            parsed = (parser.parse(row, found) for row in chain(head, rows))
            yield from (asked(record) for record in parsed if record is not None)
    if problems is None:
        found.raise_errors()


def has_answer(record: Record) -> bool:
    """Whether a record that `read_prompts` gave has an answer of its own."""
    if isinstance(record, Conversation):
        return record.messages[-1].role == "assistant"
    return isinstance(record, Pair) and bool(record.completion)


def with_answer(record: Record, answer: str) -> Record:
    """The record with this answer, in place of its own if it has one."""
    if isinstance(record, Pair):
        return replace(record, completion=answer)
    assert isinstance(record, Conversation), "a text has no answer"
    asked = record.messages[:-1] if has_answer(record) else record.messages
    return replace(record, messages=(*asked, Message("assistant", answer)))


def without_answer(record: Record) -> Record:
    """The record as it is asked."""
    if isinstance(record, Pair):
        return replace(record, completion="")
    if isinstance(record, Conversation) and has_answer(record):
        return replace(record, messages=record.messages[:-1])
    return record


def asked(record: Record) -> Record:
    """A record as it was asked: without the answer that stood for none; a text is a prompt."""
    if isinstance(record, Text):
        return Pair(record.text, "", record.origin, record.fields)
    if isinstance(record, Pair) and record.completion == PLACEHOLDER:
        return replace(record, completion="")
    if isinstance(record, Conversation) and record.messages[-1].content == PLACEHOLDER:
        return replace(record, messages=record.messages[:-1])
    return record
