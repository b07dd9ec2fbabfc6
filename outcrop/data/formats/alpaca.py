"""Alpaca: {"instruction": …, "input": …, "output": …}; instruction and input make the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.data.formats.shape import Shape, check_text, get_text, other_fields, refuse
from outcrop.data.problems import Site
from outcrop.data.records import Pair, Record


class Alpaca(Shape):
    """An instruction, its input where there is one, and the answer. The two are joined by a blank line."""

    name = "alpaca"
    example: Mapping[str, Any] = {"instruction": "Name the capital.", "input": "Peru", "output": "Lima"}
    keys = ("instruction", "input", "output")

    def matches(self, row: Mapping[str, Any]) -> bool:
        return "instruction" in row and "output" in row

    def parse(self, row: Mapping[str, Any], site: Site) -> Pair | None:
        for key in ("history", "system", "images"):
            if row.get(key):
                site.add("unsupported-part", f"alpaca's {key!r} is not read; use a messages format", key)
        instruction = get_text(row, "instruction", site)
        given = check_text(row.get("input", ""), "input", site, empty_allowed=True)
        output = get_text(row, "output", site)
        if site.failed or instruction is None or output is None:
            return None
        prompt = f"{instruction}\n\n{given}" if given else instruction
        return Pair(prompt, output, site.origin, other_fields(row, self.keys))

    def write(self, record: Record) -> dict[str, Any]:
        if not isinstance(record, Pair):
            raise refuse(self.name, record)
        return {"instruction": record.prompt, "input": "", "output": record.completion}


SHAPE = Alpaca()
