"""Bedrock's Converse form: schemaVersion bedrock-conversation-2024, contents as lists of {"text": …}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.data.formats.json_text import type_name
from outcrop.data.formats.shape import MISSING, Shape, check_weights, get, get_text, other_fields, refuse
from outcrop.data.formats.turns import Turn, conversation, get_list, get_role, has_blocks, report_ignored
from outcrop.data.problems import Site
from outcrop.data.records import Conversation, Message, Record, Role

VERSION = "bedrock-conversation-2024"
TOOL_PARTS = ("toolUse", "toolResult")
OTHER_PARTS = ("image", "document", "video", "audio", "guardContent", "cachePoint", "reasoningContent")
ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant"}


class Converse(Shape):
    """System and content are lists of blocks; several text blocks of one turn are joined by a line break."""

    name = VERSION
    example: Mapping[str, Any] = {
        "schemaVersion": VERSION,
        "system": [{"text": "You answer briefly."}],
        "messages": [
            {"role": "user", "content": [{"text": "Hello"}]},
            {"role": "assistant", "content": [{"text": "Hi"}]},
        ],
    }
    keys = ("schemaVersion", "system", "messages")

    def matches(self, row: Mapping[str, Any]) -> bool:
        return "messages" in row and ("schemaVersion" in row or isinstance(row.get("system"), list) or has_blocks(row))

    def parse(self, row: Mapping[str, Any], site: Site) -> Conversation | None:
        if row.get("schemaVersion", VERSION) != VERSION:
            site.add("wrong-value", f"{row['schemaVersion']!r}; allowed: {VERSION}", "schemaVersion")
        turns = []
        if row.get("system") is not None:
            if isinstance(row["system"], list) and len(row["system"]) > 1:
                site.add("two-systems", f"{len(row['system'])} system texts", "system[1]")
            text = self._blocks(row, "system", "system", site)
            turns.append(Turn(Message("system", text or ""), "system"))
        for index, message in enumerate(get_list(row, "messages", site) or []):
            field = f"messages[{index}]"
            report_ignored(message, ("role", "content"), field, site)
            role = get_role(message, "role", field, site, ROLES)
            content = self._blocks(message, "content", f"{field}.content", site)
            if role and content is not None:
                turns.append(Turn(Message(role, content), field))
        if site.failed:
            return None
        return conversation(turns, site, "messages", other_fields(row, self.keys))

    def _blocks(self, holder: Mapping[str, Any], key: str, field: str, site: Site) -> str | None:
        blocks = get(holder, key, field.removesuffix(key).removesuffix("."), site)
        if blocks is MISSING:
            return None
        if blocks is None:
            site.add("null-content", "null instead of a list of texts", field)
            return None
        if not isinstance(blocks, list):
            site.add("wrong-type", f'expected a list of {{"text": …}}, got {type_name(blocks)}', field)
            return None
        if not blocks:
            site.add("empty-content", "an empty list", field)
            return None
        texts = [self._block(block, f"{field}[{index}]", site) for index, block in enumerate(blocks)]
        return None if None in texts else "\n".join(text for text in texts if text is not None)

    def _block(self, block: Any, field: str, site: Site) -> str | None:
        if not isinstance(block, dict):
            site.add("wrong-type", f"expected an object, got {type_name(block)}", field)
            return None
        for kind in block:
            if kind in TOOL_PARTS or kind in OTHER_PARTS:
                site.add("tools-unsupported" if kind in TOOL_PARTS else "unsupported-part", f"a part {kind!r}", field)
                return None
        report_ignored(block, ("text",), field, site)
        return get_text(block, "text", site, field)

    def write(self, record: Record) -> dict[str, Any]:
        if not isinstance(record, Conversation):
            raise refuse(self.name, record)
        check_weights(self.name, record)
        system = [{"text": turn.content} for turn in record.messages if turn.role == "system"]
        turns = [
            {"role": turn.role, "content": [{"text": turn.content}]}
            for turn in record.messages
            if turn.role != "system"
        ]
        return {"schemaVersion": VERSION} | ({"system": system} if system else {}) | {"messages": turns}


SHAPE = Converse()
