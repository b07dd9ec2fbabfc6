"""Bedrock's fine-tuning rows: {"prompt": …, "completion": …}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.data.formats.shape import Shape, get_text, other_fields, refuse
from outcrop.data.problems import Site
from outcrop.data.records import Pair, Record


class PromptCompletion(Shape):
    """One prompt and its completion."""

    name = "prompt-completion"
    example: Mapping[str, Any] = {"prompt": "What is the capital of Peru?", "completion": "Lima"}
    keys = ("prompt", "completion")

    def matches(self, row: Mapping[str, Any]) -> bool:
        return "prompt" in row and "completion" in row

    def parse(self, row: Mapping[str, Any], site: Site) -> Pair | None:
        prompt = get_text(row, "prompt", site)
        completion = get_text(row, "completion", site)
        if prompt is None or completion is None:
            return None
        return Pair(prompt, completion, site.origin, other_fields(row, self.keys))

    def write(self, record: Record) -> dict[str, Any]:
        if not isinstance(record, Pair):
            raise refuse(self.name, record)
        return {"prompt": record.prompt, "completion": record.completion}


SHAPE = PromptCompletion()
