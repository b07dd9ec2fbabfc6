"""Rows without answers ask what the same rows with answers ask, in every format and under every mapping."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from outcrop.data.formats.catalog import SHAPES
from outcrop.data.formats.container import Row
from outcrop.data.mapping import Mapping, apply
from outcrop.data.problems import Problems, Site
from outcrop.data.records import Conversation, Origin, Record, prompt_text
from outcrop.data.unanswered import asking_mapping, mapped, read_by_form

ORIGIN = Origin("rows.jsonl", 1)


def unanswered(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a labelled format without its answer."""
    row = copy.deepcopy(row)
    for name in ("completion", "output"):
        row.pop(name, None)
    for name in ("messages", "conversations"):
        if name in row:
            row[name] = row[name][:-1]
    return row


def asks(record: Record | None) -> list[tuple[str, str]] | str:
    assert record is not None
    if isinstance(record, Conversation):
        turns = record.messages[:-1] if record.messages[-1].role == "assistant" else record.messages
        return [(turn.role, turn.content) for turn in turns]
    return prompt_text(record)


@pytest.mark.parametrize("name", list(SHAPES))
@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_every_format_can_be_asked(name: str, answered: bool, named: bool) -> None:
    shape = SHAPES.load(name)
    row = dict(shape.example)
    site = Site(Problems(), ORIGIN)
    wanted = shape.parse(row, site)
    found = read_by_form(Row(row if answered else unanswered(row), ORIGIN), site, name if named else None)
    assert not site.failed
    assert asks(found) == asks(wanted)
    assert not isinstance(found, Conversation) or found.messages[-1].role == "user"


ROW = {
    "q": "Peru?", "about": "capitals", "a": ["Lima", "lima"],
    "turns": [{"speaker": "USER", "utterance": "Peru?"}, {"speaker": "SYSTEM", "utterance": "Lima"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("asking", "labelled"),
    [
        (("prompt=q",), ("prompt=q,completion=a[0]",)),
        (("prompt=q,completion=a[1]",), ("prompt=q,completion=a[1]",)),
        (("prompt=q,completion=a[]",), ("prompt=q,completion=a[]",)),
        (("prompt=q,system=about",), ("prompt=q,system=about,completion=a[0]",)),
        (("prompt=q", "{about}: {q}"), ("prompt=q,completion=a[0]", "{about}: {q}")),
        (("messages=turns", "", "user=USER,assistant=SYSTEM"), ("messages=turns", "", "user=USER,assistant=SYSTEM")),
        (("text=q",), ("text=q",)),
    ],
)
def test_a_mapping_needs_no_answer(asking: tuple[str, ...], labelled: tuple[str, ...]) -> None:
    mapping, full = asking_mapping(*asking), Mapping.from_text(*labelled)
    assert mapping is not None
    assert full is not None
    site = Site(Problems(), ORIGIN)
    wanted = apply(full, ROW, site)
    without = {name: value for name, value in ROW.items() if name != "a"}
    without["turns"] = ROW["turns"][:1]
    for row in (ROW, without):
        assert asks(mapped(mapping, Row(dict(row), ORIGIN), site)) == asks(wanted)
    assert not site.failed


def test_what_is_wrong_with_a_row_is_told() -> None:
    problems = Problems()
    for values in ({"prompt": ""}, {"x": 1}, {"messages": [{"role": "user", "content": ""}]}, {"messages": []}):
        site = Site(problems, ORIGIN)
        assert read_by_form(Row(values, ORIGIN), site) is None
        assert site.failed
    assert asking_mapping() is None
