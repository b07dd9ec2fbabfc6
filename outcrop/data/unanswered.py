"""Rows that ask and have no answer yet: read by the formats of labelled rows, with a placeholder that nobody reads."""

from __future__ import annotations

from collections.abc import Mapping as Fields
from dataclasses import replace
from typing import Any

from outcrop.data.formats.catalog import SHAPES
from outcrop.data.formats.container import Row
from outcrop.data.formats.turns import ROLE_NAMES
from outcrop.data.mapping import CONTENT_KEYS, PAIR_COLUMNS, ROLE_KEYS, Mapping, apply, reference
from outcrop.data.problems import Site
from outcrop.data.reading import sniff
from outcrop.data.records import Conversation, Record

PLACEHOLDER = "<no answer>"
"""Stands for the answer of a row while it is read."""
ANSWER_COLUMN = "(the answer that is asked for)"
TURNS = ("messages", "conversations")
ANSWERS = {"prompt": "completion", "instruction": "output"}
"""The field of a prompt in a format, and that of its answer."""


def asking_mapping(columns: str = "", template: str = "", roles: str = "") -> Mapping | None:
    """A mapping in which the completion may be missing. Raises UsageError as Mapping.from_text does."""
    targets = {part.partition("=")[0].strip() for part in columns.split(",")} if columns else set()
    if not targets & {"completion", "messages", "text"} and (columns or template):
        columns = ",".join(part for part in (columns or "prompt=prompt", f"completion={ANSWER_COLUMN}") if part)
    return Mapping.from_text(columns, template, roles)


def filled(values: Fields[str, Any], mapping: Mapping | None, *, anew: bool) -> dict[str, Any]:
    """A row's values with the placeholder where its answer belongs. anew: also in place of an answer that is there,
    but not of an assistant's last turn."""
    if mapping is None:
        return _filled_by_form(values, anew=anew)
    found = dict(values)
    columns = mapping.columns or PAIR_COLUMNS
    if "messages" in columns:
        name = reference(columns["messages"]).name
        return _with_last_turn(found, name, mapping.roles.get("assistant", "assistant"))
    if "completion" in columns:
        column = reference(columns["completion"])
        if anew or column.name not in found:
            places = column.form + 1 if isinstance(column.form, int) else 1
            found[column.name] = [PLACEHOLDER] * places if column.form else PLACEHOLDER
    return found


def mapped(mapping: Mapping, row: Row, site: Site) -> Record | None:
    """The record that a mapping makes of a row whose answer is asked for, or None after reporting what is wrong."""
    return _asking(apply(mapping, filled(row.values, mapping, anew=True), site))


def read_by_form(row: Row, site: Site, form: str | None = None) -> Record | None:
    """The record of a row in a known format, or None after reporting what is wrong. form: its name in SHAPES."""
    values = filled(row.values, None, anew=True)
    shape = SHAPES.load(form) if form else sniff([Row(values, row.origin)])
    if shape is None:
        site.add("unknown-format", f"the columns are: {', '.join(map(str, row.values))}")
        return None
    return _asking(shape.parse(values, site))


def _filled_by_form(values: Fields[str, Any], *, anew: bool) -> dict[str, Any]:
    found = dict(values)
    for name in TURNS:
        if name in found:
            found = _with_last_turn(found, name, "assistant")
    for prompt, answer in ANSWERS.items():
        if prompt in found and (anew or answer not in found):
            found[answer] = PLACEHOLDER
    return found


def _with_last_turn(values: dict[str, Any], name: str, assistant: str) -> dict[str, Any]:
    """The row with an answer after the last turn, where that is not an answer already; in the same keys."""
    turns = values.get(name)
    if not isinstance(turns, list) or not turns or not isinstance(turns[-1], dict):
        return values
    last: Fields[str, Any] = turns[-1]
    role = next((key for key in ROLE_KEYS if key in last), ROLE_KEYS[0])
    content = next((key for key in CONTENT_KEYS if key in last), CONTENT_KEYS[0])
    said = str(last.get(role)).lower()
    if said == assistant.lower() or ROLE_NAMES.get(said) == "assistant":
        return values
    return values | {name: [*turns, {role: assistant, content: _like(last.get(content))}]}


def _like(content: Any) -> Any:
    """The placeholder as the other turns write their contents."""
    if not isinstance(content, list):
        return PLACEHOLDER
    has_types = bool(content) and isinstance(content[0], dict) and "type" in content[0]
    return [{"type": "text", "text": PLACEHOLDER} if has_types else {"text": PLACEHOLDER}]


def _asking(record: Record | None) -> Record | None:
    """The record without what was to be answered."""
    if isinstance(record, Conversation) and record.messages[-1].role == "assistant":
        return replace(record, messages=record.messages[:-1])
    return record
