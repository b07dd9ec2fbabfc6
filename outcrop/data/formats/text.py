"""Unlabelled text for continued pre-training: Bedrock's {"input": …} and plain {"text": …}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.data.formats.shape import Shape, get_text, other_fields, refuse
from outcrop.data.problems import Site
from outcrop.data.records import Record, Text


class OneText(Shape):
    """One text under one key. Rows with other keys need a mapping: a label beside the text must not be lost unseen."""

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.keys = (key,)
        self.example = {key: "Outcrops are where the rock beneath comes to light."}

    def matches(self, row: Mapping[str, Any]) -> bool:
        return tuple(row) == self.keys

    def parse(self, row: Mapping[str, Any], site: Site) -> Text | None:
        text = get_text(row, self.keys[0], site)
        return None if text is None else Text(text, site.origin, other_fields(row, self.keys))

    def write(self, record: Record) -> dict[str, Any]:
        if not isinstance(record, Text):
            raise refuse(self.name, record)
        return {self.keys[0]: record.text}


INPUT = OneText("input", "input")
TEXT = OneText("text", "text")
