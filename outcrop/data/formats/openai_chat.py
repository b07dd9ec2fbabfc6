"""OpenAI chat: {"messages": [{"role", "content", "weight"?}]}, the system message among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.data.formats.json_text import type_name
from outcrop.data.formats.shape import Shape, check_text, get_text, other_fields, refuse
from outcrop.data.formats.tools import KEYS as TOOL_KEYS
from outcrop.data.formats.tools import report_tools
from outcrop.data.formats.turns import Turn, conversation, get_list, get_role, has_blocks, report_ignored
from outcrop.data.problems import Site
from outcrop.data.records import Conversation, Message, Record

MESSAGE_KEYS = ("role", "content", "weight", "tool_calls", "function_call", "tool_call_id")


class OpenAIChat(Shape):
    """Messages with roles; weight 0 keeps an assistant turn as context without training on it."""

    name = "openai-chat"
    example: Mapping[str, Any] = {
        "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi", "weight": 1}]
    }
    keys = ("messages", *TOOL_KEYS)

    def matches(self, row: Mapping[str, Any]) -> bool:
        return "messages" in row and "system" not in row and "schemaVersion" not in row and not has_blocks(row)

    def parse(self, row: Mapping[str, Any], site: Site) -> Conversation | None:
        messages = get_list(row, "messages", site)
        if messages is None or report_tools(row, site):
            return None
        turns = [self._turn(message, f"messages[{index}]", site) for index, message in enumerate(messages)]
        if site.failed:
            return None
        found = [turn for turn in turns if turn]
        return conversation(found, site, "messages", other_fields(row, self.keys))

    def _turn(self, message: Mapping[str, Any], field: str, site: Site) -> Turn | None:
        report_ignored(message, MESSAGE_KEYS, field, site)
        role = get_role(message, "role", field, site)
        content = self._content(message, field, site)
        weight = message.get("weight", 1)
        if isinstance(weight, bool) or weight not in (0, 1):
            site.add("wrong-value", f"weight {weight!r}; allowed: 0 and 1", f"{field}.weight")
        return (
            Turn(Message(role, content, float(weight)), field)
            if role and content is not None and weight in (0, 1)
            else None
        )

    def _content(self, message: Mapping[str, Any], field: str, site: Site) -> str | None:
        content = message.get("content")
        if not isinstance(content, list):
            return get_text(message, "content", site, field)
        texts = []
        for index, part in enumerate(content):
            kind = part.get("type") if isinstance(part, dict) else type_name(part)
            if kind == "text":
                texts.append(part.get("text"))
            else:
                site.add("unsupported-part", f"a part of type {kind!r}", f"{field}.content[{index}]")
                return None
        whole = "".join(texts) if all(isinstance(text, str) for text in texts) else None
        return check_text(whole, f"{field}.content", site)

    def write(self, record: Record) -> dict[str, Any]:
        if not isinstance(record, Conversation):
            raise refuse(self.name, record)
        return {"messages": [self._write(message) for message in record.messages]}

    def _write(self, message: Message) -> dict[str, Any]:
        row: dict[str, Any] = {"role": message.role, "content": message.content}
        return row if message.weight == 1 else row | {"weight": int(message.weight)}


SHAPE = OpenAIChat()
