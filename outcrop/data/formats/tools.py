"""Tools and tool calls: every defect in them is named, and the rows are refused, because they cannot be trained yet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from outcrop.data.problems import Site

KEYS = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")
"""Keys of a row that belong to tools."""


def report_tools(row: Mapping[str, Any], site: Site) -> bool:
    """Report every tool defect of an OpenAI chat row; true where there are tools at all."""
    messages = [message for message in row.get("messages") or [] if isinstance(message, dict)]
    used = [key for key in KEYS if row.get(key)]
    places = [f"messages[{index}]" for index, message in enumerate(messages) if _is_tool_turn(message)]
    if not used and not places:
        return False
    site.add("tools-unsupported", "the row uses tools", (used + places)[0])
    declared = list(_declared(row.get("tools"), site))
    answered = [message.get("tool_call_id") for message in messages if message.get("role") == "tool"]
    for field, call in _calls(messages):
        _check_call(call, field, declared, answered, site)
    return True


def _is_tool_turn(message: Mapping[str, Any]) -> bool:
    return bool(
        message.get("tool_calls") or message.get("function_call") or message.get("role") in ("tool", "function")
    )


def _declared(tools: Any, site: Site) -> Iterator[str]:
    """Names of the tools that are declared with a schema."""
    for index, tool in enumerate(tools if isinstance(tools, list) else []):
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str):
            yield name
        if (
            not isinstance(name, str)
            or not isinstance(function, dict)
            or not isinstance(function.get("parameters"), dict)
        ):
            field = f"tools[{index}].function" + (".parameters" if isinstance(name, str) else "")
            site.add("tool-without-schema", f"the tool {name or index} has no parameters object", field)


def _calls(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for index, message in enumerate(messages):
        calls = message.get("tool_calls")
        for number, call in enumerate(calls if isinstance(calls, list) else []):
            if isinstance(call, dict):
                yield f"messages[{index}].tool_calls[{number}]", call


def _check_call(call: Mapping[str, Any], field: str, declared: list[str], answered: list[Any], site: Site) -> None:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    if function.get("name") not in declared:
        site.add("tool-without-schema", f"{function.get('name')!r} is not under tools", f"{field}.function.name")
    if not _is_json_object(function.get("arguments")):
        site.add("invalid-tool-arguments", "not a JSON object written as text", f"{field}.function.arguments")
    if call.get("id") not in answered:
        site.add("tool-call-without-result", f"nothing answers the call {call.get('id')!r}", field)


def _is_json_object(text: Any) -> bool:
    try:
        return isinstance(text, str) and isinstance(json.loads(text), dict)
    except ValueError:
        return False
