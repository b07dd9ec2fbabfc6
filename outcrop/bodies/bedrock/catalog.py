"""The formats of InvokeModel bodies by name, and which of them a model takes. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outcrop.bodies.bedrock.format import Format
from outcrop.core.catalog import Catalog

HERE = "outcrop.bodies.bedrock"

FORMATS: Catalog[Format] = Catalog(
    "format of bodies",
    {
        "llama": f"{HERE}.llama:FORMAT",
        "claude": f"{HERE}.claude:FORMAT",
        "nova": f"{HERE}.nova:FORMAT",
        "titan": f"{HERE}.titan:FORMAT",
        "mistral": f"{HERE}.mistral:FORMAT",
        "bedrock-completion": f"{HERE}.imported:FORMAT",
        "openai-completion": f"{HERE}.openai_text:FORMAT",
        "openai-chat": f"{HERE}.openai_chat:FORMAT",
    },
)

FAMILIES = (
    ("meta.", "llama"),
    ("anthropic.", "claude"),
    ("amazon.nova", "nova"),
    ("amazon.titan-text", "titan"),
    ("mistral.", "mistral"),
    ("openai.", "openai-chat"),
    ("qwen.", "openai-chat"),
    ("deepseek.", "openai-chat"),
)
"""The beginning of a foundation model's id, and the format that Bedrock documents for it."""


def format_for(foundation_model: str, body: Mapping[str, Any]) -> str:
    """The format of a body sent to a model, or to one made from it; "" for an imported model.

    Models of families that Bedrock does not have, as imported ones, take every format: the body tells which.
    """
    name = family_format(foundation_model)
    if name == "mistral" and "messages" in body:
        return "openai-chat"
    return name or _by_fields(body)


def family_format(foundation_model: str) -> str:
    """The format that a family's models always take, or ""."""
    return next((name for beginning, name in FAMILIES if foundation_model.startswith(beginning)), "")


def _has_blocks(messages: Any) -> bool:
    """Whether turns hold Converse's blocks, which name no type."""
    turns = [turn for turn in messages if isinstance(turn, Mapping)] if isinstance(messages, list) else []
    contents = [turn["content"] for turn in turns if isinstance(turn.get("content"), list)]
    return any(isinstance(block, Mapping) and "type" not in block for content in contents for block in content)


def _by_fields(body: Mapping[str, Any]) -> str:
    if "anthropic_version" in body:
        return "claude"
    if "inputText" in body:
        return "titan"
    if "schemaVersion" in body or "inferenceConfig" in body or _has_blocks(body.get("messages")):
        return "nova"
    if "messages" in body:
        return "openai-chat"
    return "openai-completion" if "max_tokens" in body else "bedrock-completion"
