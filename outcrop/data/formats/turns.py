"""Turns of a conversation, put in order and checked; shared by all formats that have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from outcrop.core.errors import did_you_mean
from outcrop.data.formats.json_text import shortened, type_name
from outcrop.data.formats.shape import MISSING, get, get_text
from outcrop.data.problems import Site
from outcrop.data.records import Conversation, Message, Role

ROLE_NAMES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "customer": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "agent": "assistant",
}
"""What sets call the roles, in lower case."""


class Turn(NamedTuple):
    """A turn and the field it came from."""

    message: Message
    field: str


def get_list(row: Mapping[str, Any], key: str, site: Site) -> list[Mapping[str, Any]] | None:
    """The list of objects at `key`, or None after reporting that it is missing, empty or something else."""
    value = get(row, key, "", site)
    if value is MISSING:
        return None
    if not isinstance(value, list):
        site.add("wrong-type", f"expected a list, got {type_name(value)}", key)
        return None
    if not value:
        site.add("empty-content", "an empty list", key)
        return None
    wrong = [(index, item) for index, item in enumerate(value) if not isinstance(item, dict)]
    for index, item in wrong:
        site.add("wrong-type", f"expected an object, got {type_name(item)}", f"{key}[{index}]")
    return None if wrong else value


def report_ignored(turn: Mapping[str, Any], used: Sequence[str], field: str, site: Site) -> None:
    """Warn of keys in a turn that have no effect."""
    for key in turn:
        if key not in used:
            site.add("ignored-key", f"{shortened(key)!r} is not used", f"{field}.{shortened(key)}")


def get_role(
    turn: Mapping[str, Any], key: str, field: str, site: Site, names: Mapping[str, Role] = ROLE_NAMES
) -> Role | None:
    """The role of a turn, or None after reporting that it is missing or not known."""
    given = get_text(turn, key, site, field)
    if given is None:
        return None
    role = names.get(given) or names.get(given.lower())
    if role is None:
        said = shortened(given)
        site.add("unknown-role", f"the role {said!r}. {did_you_mean(said, names)}", f"{field}.{key}")
    return role


def has_blocks(row: Mapping[str, Any]) -> bool:
    """Whether the first message's content is a list of Converse blocks rather than of OpenAI parts with a type."""
    messages = row.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    content = first.get("content") if isinstance(first, dict) else None
    return isinstance(content, list) and bool(content) and isinstance(content[0], dict) and "type" not in content[0]


def conversation(turns: Sequence[Turn], site: Site, key: str, fields: Mapping[str, Any]) -> Conversation | None:
    """A conversation of the turns, or None after reporting what is wrong with their order. key: the list's name."""
    systems = [turn for turn in turns if turn.message.role == "system"]
    if len(systems) > 1:
        site.add("two-systems", f"{len(systems)} system messages", systems[1].field)
    elif systems and turns[0].message.role != "system":
        site.add("system-not-first", "the system message comes later", systems[0].field)
    _check_order([turn for turn in turns if turn.message.role != "system"], site, key)
    if site.failed:
        return None
    return Conversation(tuple(turn.message for turn in turns), site.origin, fields)


def _check_order(turns: Sequence[Turn], site: Site, key: str) -> None:
    answers = [turn for turn in turns if turn.message.role == "assistant"]
    if not answers:
        site.add("missing-assistant", "no turn of the assistant", key)
        return
    if turns[0].message.role == "assistant":
        site.add("first-turn-assistant", "the assistant speaks first", turns[0].field)
    for earlier, later in pairwise(turns):
        if earlier.message.role == later.message.role:
            site.add("roles-not-alternating", f"two {later.message.role} turns in a row", later.field)
            break
    if turns[-1].message.role == "user":
        site.add("last-turn-user", "no answer follows", turns[-1].field)
    if not any(turn.message.weight for turn in answers):
        site.add("nothing-to-learn", "no assistant turn has a weight above 0", key)
