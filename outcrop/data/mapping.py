"""Column mapping: which columns of any table are the prompt, the completion, the text or the turns.

    prompt=text,completion=label     two columns
    prompt=source[]                  a list of texts, joined by spaces
    completion=target[0]             one element of a list, counted from 0
    completion=slots{}               any value, written as JSON
    text=text                        unlabelled text for continued pre-training
    messages=turns                   a list of turns; `roles` says what the set calls user and assistant
"""

from __future__ import annotations

import collections.abc
import json
import math
import re
from functools import lru_cache
from typing import Any, NamedTuple, Self, cast, get_args

from pydantic import field_validator, model_validator

from outcrop.core.errors import UsageError, did_you_mean
from outcrop.core.spec import Spec, parameter
from outcrop.data.formats.json_text import type_name
from outcrop.data.formats.shape import MISSING, check_text, get
from outcrop.data.formats.turns import ROLE_NAMES, Turn, conversation, get_list, get_role
from outcrop.data.problems import Site
from outcrop.data.records import Conversation, Message, Pair, Record, Role, Text

TARGETS = ("prompt", "completion", "system", "text", "messages")
ROLE_KEYS = ("role", "from", "speaker")
CONTENT_KEYS = ("content", "value", "utterance", "text")
PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
REFERENCE = re.compile(r"(?P<name>.+?)(?P<part>\[(?P<element>\d*)\]|\{\})?")


PAIR_COLUMNS = {"prompt": "prompt", "completion": "completion"}
"""Where a template alone is given."""


class Mapping(Spec):
    """How the columns of a row become a record."""

    columns: dict[str, str] = parameter({}, "what each column is, as prompt=COLUMN,completion=COLUMN")
    template: str = parameter("", "text of the prompt, with columns in braces")
    roles: dict[str, str] = parameter({}, "what the set calls the roles, as user=NAME,assistant=NAME")

    @field_validator("columns")
    @classmethod
    def _known_targets(cls, columns: dict[str, str]) -> dict[str, str]:
        for target, column in columns.items():
            if target not in TARGETS:
                raise ValueError(f"unknown target {target!r}. {did_you_mean(target, TARGETS)}")
            if not column:
                raise ValueError(f"no column for {target}")
        return columns

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, roles: dict[str, str]) -> dict[str, str]:
        for role in roles:
            if role not in get_args(Role):
                raise ValueError(f"unknown role {role!r}. {did_you_mean(role, get_args(Role))}")
        return roles

    @model_validator(mode="after")
    def _one_kind_of_record(self) -> Self:
        targets = set(self.columns) or {"prompt", "completion"}
        if self.template and "messages" not in targets:
            targets |= {"prompt"} if "text" not in targets else set()
        allowed = [{"prompt", "completion"}, {"text"}, {"messages"}]
        if targets - {"system"} not in allowed or targets == {"text", "system"}:
            raise ValueError(
                f"the targets {', '.join(sorted(targets))} do not make a record; "
                "allowed: prompt and completion (system too), or text, or messages (system too)"
            )
        if self.roles and "messages" not in targets:
            raise ValueError("roles are for a mapping of messages")
        if self.template and "messages" in targets:
            raise ValueError("a template and messages do not go together")
        _check_template(self)
        return self

    @classmethod
    def from_text(cls, columns: str = "", template: str = "", roles: str = "") -> Mapping | None:
        """Build from the command line's words; None where nothing is mapped. In the template \\n and \\t are escapes.

        Raises UsageError saying what is wrong.
        """
        if not columns and not template and not roles:
            return None
        escapes = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}
        unescaped = re.sub(r"\\[nt\\]", lambda match: escapes[match.group()], template)
        values = {"columns": _pairs(columns, "--map"), "template": unescaped, "roles": _pairs(roles, "--roles")}
        return cls.parse(values, "--map, --template, --roles")


class Reference(NamedTuple):
    """A column and how its value is taken: as it is (""), joined ("[]"), as JSON ("{}"), or one element of a list."""

    name: str
    form: str | int


@lru_cache(maxsize=256)
def reference(text: str) -> Reference:
    """Read COLUMN, COLUMN[], COLUMN[N] or COLUMN{}."""
    match = REFERENCE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a column.", "Write COLUMN, COLUMN[], COLUMN[0] or COLUMN{}.")
    return Reference(match["name"], int(match["element"]) if match["element"] else match["part"] or "")


def apply(mapping: Mapping, row: collections.abc.Mapping[str, Any], site: Site) -> Record | None:
    """The record that a mapping makes of a row, or None after reporting what is wrong with the row."""
    columns = mapping.columns or PAIR_COLUMNS
    used = {reference(column).name for column in columns.values()}
    fields = {key: value for key, value in row.items() if key not in used}
    if "messages" in columns:
        return _conversation(mapping, columns, row, fields, site)
    texts = {target: _text(column, target, row, site) for target, column in columns.items()}
    if mapping.template:
        target = "text" if "text" in columns else "prompt"
        texts[target] = _render(mapping.template, texts, row, site)
    if site.failed or None in texts.values():
        return None
    usable = {target: text for target, text in texts.items() if text is not None}
    return _record(usable, fields, site)


def _record(texts: collections.abc.Mapping[str, str], fields: collections.abc.Mapping[str, Any], site: Site) -> Record:
    if "text" in texts:
        return Text(texts["text"], site.origin, fields)
    if "system" not in texts:
        return Pair(texts["prompt"], texts["completion"], site.origin, fields)
    turns = (
        Message("system", texts["system"]),
        Message("user", texts["prompt"]),
        Message("assistant", texts["completion"]),
    )
    return Conversation(turns, site.origin, fields)


def _text(column: str, target: str, row: collections.abc.Mapping[str, Any], site: Site) -> str | None:
    """The text of a column, or None after reporting why it has none. Numbers become text, with a warning for labels."""
    value = _value(column, row, site)
    if value is MISSING:
        return None
    if isinstance(value, bool | int | float):
        number = _number(value)
        if number is None:
            site.add("not-a-number", f"the value {value}", column)
        elif target == "completion":
            site.add("number-as-label", f"the number {number} became text", column)
        return number
    if isinstance(value, list | dict):
        forms = [f"{column}[] to join its texts", f"{column}[0] for one"] if isinstance(value, list) else []
        site.add("wrong-type", f"{type_name(value)}; write {', '.join([*forms, f'{column}{{}} for JSON'])}", column)
        return None
    return check_text(value, column, site)


def _value(column: str, row: collections.abc.Mapping[str, Any], site: Site) -> Any:
    """The value a reference points at, or MISSING after reporting why there is none."""
    name, form = reference(column)
    value = get(row, name, "", site)
    if form == "" or value is MISSING:
        return value
    if form == "{}":
        return _as_json(value, name, site)
    if not isinstance(value, list):
        site.add("wrong-type", f"{column} needs a list, got {type_name(value)}", name)
        return MISSING
    if not value or (isinstance(form, int) and form >= len(value)):
        site.add("empty-content", f"{column} needs more than the list's {len(value)} elements", name)
        return MISSING
    if isinstance(form, int):
        return value[form]
    wrong = [item for item in value if not isinstance(item, str)]
    if wrong:
        site.add("wrong-type", f"{column} needs a list of texts, but an element is {type_name(wrong[0])}", name)
        return MISSING
    return " ".join(value)


def _as_json(value: Any, name: str, site: Site) -> Any:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:  # Parquet holds types that JSON does not
        site.add("wrong-type", f"cannot be written as JSON: {error}", name)
        return MISSING


def _number(value: bool | int | float) -> str | None:
    """A number as text, as JSON writes it; None for NaN and infinity."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if math.isfinite(value) else None


def _render(
    template: str,
    texts: collections.abc.Mapping[str, str | None],
    row: collections.abc.Mapping[str, Any],
    site: Site,
) -> str | None:
    """The template with mapped targets and columns filled in; None after reporting what is missing."""
    pieces: list[str | None] = []
    position = 0
    for match in PLACEHOLDER.finditer(template):
        pieces.append(template[position : match.start()])
        position = match.end()
        if match.group() in ("{{", "}}"):
            pieces.append(match.group()[0])
            continue
        name = match[1]
        pieces.append(texts[name] if name in texts else _text(name, "prompt", row, site))
    pieces.append(template[position:])
    return None if None in pieces else "".join(piece for piece in pieces if piece is not None)


def fill(template: str, values: collections.abc.Mapping[str, str]) -> str:
    """A template with its placeholders filled in. Raises UsageError for one that has no value."""

    def value(match: re.Match[str]) -> str:
        if match.group() in ("{{", "}}"):
            return match.group()[0]
        if match[1] not in values:
            raise UsageError(f"The template needs a value for {match.group()}.", did_you_mean(str(match[1]), values))
        return values[match[1]]

    return PLACEHOLDER.sub(value, template)


def is_filled(template: str, text: str) -> bool:
    """Whether a text has all of a template's own words, in order and from end to end, as `fill` leaves them. False for
    a template without words of its own."""
    words, end = [""], 0
    for match in PLACEHOLDER.finditer(template):
        words[-1] += template[end : match.start()]
        if match.group() in ("{{", "}}"):
            words[-1] += match.group()[0]
        else:
            words.append("")
        end = match.end()
    words[-1] += template[end:]
    if len(words) == 1:
        return text == words[0]
    first, *between, last = words
    if not "".join(words).strip() or not text.startswith(first):
        return False
    place = len(first)
    for word in between:
        place = text.find(word, place) + len(word)
        if place < len(word):
            return False
    return len(text) - len(last) >= place and text.endswith(last)


def _check_template(mapping: Mapping) -> None:
    answers = {"completion", mapping.columns.get("completion", "completion")}
    for match in PLACEHOLDER.finditer(mapping.template):
        if match.group() in ("{{", "}}"):
            continue
        if not match[1]:
            raise ValueError(f"the template has a lone {match.group()!r}; write {{{{ or }}}} for a brace")
        if match[1] in answers and "text" not in mapping.columns:
            raise ValueError(f"the template would show the answer in the prompt: {match.group()}")


def _conversation(
    mapping: Mapping,
    columns: collections.abc.Mapping[str, str],
    row: collections.abc.Mapping[str, Any],
    fields: collections.abc.Mapping[str, Any],
    site: Site,
) -> Conversation | None:
    key = columns["messages"]
    names = ROLE_NAMES | {given: cast(Role, role) for role, given in mapping.roles.items()}
    turns = []
    if "system" in columns and (system := _text(columns["system"], "system", row, site)) is not None:
        turns.append(Turn(Message("system", system), columns["system"]))
    for index, turn in enumerate(get_list(row, key, site) or []):
        field = f"{key}[{index}]"
        role = get_role(turn, _present(ROLE_KEYS, turn), field, site, names)
        content = get(turn, _present(CONTENT_KEYS, turn), field, site)
        text = None if content is MISSING else check_text(content, f"{field}.{_present(CONTENT_KEYS, turn)}", site)
        if role and text is not None:
            turns.append(Turn(Message(role, text), field))
    roles = {turn.message.role for turn in turns}
    if roles and "assistant" not in roles and not mapping.roles:
        message = f"no turn is the assistant's, only {', '.join(sorted(roles))}; name the roles, for instance "
        site.add("unknown-role", f"{message}--roles user=USER,assistant=SYSTEM", key)
    return None if site.failed else conversation(turns, site, key, fields)


def _present(keys: tuple[str, ...], turn: collections.abc.Mapping[str, Any]) -> str:
    return next((key for key in keys if key in turn), keys[0])


def _pairs(text: str, flag: str) -> dict[str, str]:
    """Read NAME=VALUE,NAME=VALUE."""
    pairs: dict[str, str] = {}
    for part in text.split(",") if text else []:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not value:
            raise UsageError(
                f"{flag}: {part!r} is not NAME=COLUMN.", "Write for instance prompt=text,completion=label."
            )
        if name in pairs:
            raise UsageError(f"{flag}: {name} is given twice.", "Give it once.")
        pairs[name] = value
    return pairs
