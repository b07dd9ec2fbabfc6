"""ShareGPT: {"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}]}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.data.formats.shape import Shape, check_text, check_weights, get_text, other_fields, refuse
from outcrop.data.formats.turns import Turn, conversation, get_list, get_role, report_ignored
from outcrop.data.problems import Site
from outcrop.data.records import Conversation, Message, Record

NAMES = {"system": "system", "user": "human", "assistant": "gpt"}
TOOL_ROLES = ("function_call", "observation", "tool")


class ShareGPT(Shape):
    """Turns with `from` and `value`; a system text may also stand beside the list."""

    name = "sharegpt"
    example: Mapping[str, Any] = {
        "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]
    }
    keys = ("conversations", "system")

    def matches(self, row: Mapping[str, Any]) -> bool:
        return "conversations" in row

    def parse(self, row: Mapping[str, Any], site: Site) -> Conversation | None:
        if row.get("tools"):
            site.add("tools-unsupported", "the row uses tools", "tools")
        turns = []
        if row.get("system"):
            system = check_text(row["system"], "system", site)
            turns.append(Turn(Message("system", system or ""), "system"))
        for index, turn in enumerate(get_list(row, "conversations", site) or []):
            turns += self._turn(turn, f"conversations[{index}]", site)
        if site.failed:
            return None
        return conversation(turns, site, "conversations", other_fields(row, self.keys))

    def _turn(self, turn: Mapping[str, Any], field: str, site: Site) -> list[Turn]:
        if turn.get("from") in TOOL_ROLES:
            site.add("tools-unsupported", f"a turn from {turn['from']!r}", f"{field}.from")
            return []
        report_ignored(turn, ("from", "value"), field, site)
        role = get_role(turn, "from", field, site)
        content = get_text(turn, "value", site, field)
        return [Turn(Message(role, content), field)] if role and content is not None else []

    def write(self, record: Record) -> dict[str, Any]:
        if not isinstance(record, Conversation):
            raise refuse(self.name, record)
        check_weights(self.name, record)
        return {"conversations": [{"from": NAMES[turn.role], "value": turn.content} for turn in record.messages]}


SHAPE = ShareGPT()
