"""Claude's fine-tuning rows: a `system` text beside `messages` of user and assistant with plain texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.data.formats.shape import Shape, check_text, check_weights, get_text, other_fields, refuse
from outcrop.data.formats.turns import Turn, conversation, get_list, get_role, has_blocks, report_ignored
from outcrop.data.problems import Site
from outcrop.data.records import Conversation, Message, Record, Role

RESERVED = ("\nHuman:", "\nAssistant:")
ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant"}


class Claude(Shape):
    """Bedrock's form for Claude. Recognised by its system text; without one, a row reads as openai-chat."""

    name = "claude"
    example: Mapping[str, Any] = {
        "system": "You answer briefly.",
        "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
    }
    keys = ("system", "messages")

    def matches(self, row: Mapping[str, Any]) -> bool:
        return "messages" in row and isinstance(row.get("system"), str)

    def accepts(self, row: Mapping[str, Any]) -> bool:
        return self.matches(row) or ("messages" in row and "system" not in row and not has_blocks(row))

    def parse(self, row: Mapping[str, Any], site: Site) -> Conversation | None:
        turns = []
        if row.get("system") is not None:
            system = _unreserved(check_text(row["system"], "system", site), "system", site)
            turns.append(Turn(Message("system", system or ""), "system"))
        for index, message in enumerate(get_list(row, "messages", site) or []):
            turns += self._turn(message, f"messages[{index}]", site)
        if site.failed:
            return None
        return conversation(turns, site, "messages", other_fields(row, self.keys))

    def _turn(self, message: Mapping[str, Any], field: str, site: Site) -> list[Turn]:
        if message.get("role") == "system":
            site.add("two-systems", "a system message beside the system text", f"{field}.role")
            return []
        report_ignored(message, ("role", "content"), field, site)
        role = get_role(message, "role", field, site, ROLES)
        content = _unreserved(get_text(message, "content", site, field), f"{field}.content", site)
        return [Turn(Message(role, content), field)] if role and content is not None else []

    def write(self, record: Record) -> dict[str, Any]:
        if not isinstance(record, Conversation):
            raise refuse(self.name, record)
        check_weights(self.name, record)
        system = [turn.content for turn in record.messages if turn.role == "system"]
        turns = [{"role": turn.role, "content": turn.content} for turn in record.messages if turn.role != "system"]
        return ({"system": system[0]} if system else {}) | {"messages": turns}


def _unreserved(text: str | None, field: str, site: Site) -> str | None:
    """The text, with reserved strings in it reported; the template sets a line break before it."""
    for reserved in RESERVED:
        if text and reserved in "\n" + text:
            site.add("reserved-string", f"{reserved.strip()!r} at the start of a line", field)
    return text


SHAPE = Claude()
