"""Defects, each as a function that plants it in row 17 of a clean corpus and says which field must be named."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.data.corpus import CONVERSATIONS, PAIRS, TEXTS, rows

ALL = (*PAIRS, *CONVERSATIONS, *TEXTS)
ANSWERED = (*PAIRS, *CONVERSATIONS)
MESSAGES = ("openai-chat", "claude", "bedrock-conversation-2024")
LINE = 17
INDEX = LINE - 1

PROMPT = {
    "prompt-completion": "prompt", "alpaca": "instruction", "sharegpt": "conversations[0].value",
    "openai-chat": "messages[0].content", "claude": "messages[0].content",
    "bedrock-conversation-2024": "messages[0].content[0].text", "input": "input", "text": "text",
}  # fmt: skip
ANSWER = {
    "prompt-completion": "completion", "alpaca": "output", "sharegpt": "conversations[1].value",
    "openai-chat": "messages[1].content", "claude": "messages[1].content",
    "bedrock-conversation-2024": "messages[1].content[0].text",
}  # fmt: skip
LISTS = {"sharegpt": "conversations"} | dict.fromkeys(MESSAGES, "messages")
ROLE = {"sharegpt": "from"} | dict.fromkeys(MESSAGES, "role")
USER = {"sharegpt": "human"} | dict.fromkeys(MESSAGES, "user")

Row = dict[str, Any]
Plant = Callable[[list[Row], str], str]
"""Changes the rows of a format and returns the field that must be named."""


def locate(row: Row, path: str) -> tuple[Any, Any]:
    """The holder of a field and its key in it."""
    steps = [int(step) if step.isdigit() else step for step in re.findall(r"\w+", path)]
    holder: Any = row
    for step in steps[:-1]:
        holder = holder[step]
    return holder, steps[-1]


def read(row: Row, path: str) -> Any:
    holder, key = locate(row, path)
    return holder[key]


def put(row: Row, path: str, value: Any) -> str:
    holder, key = locate(row, path)
    holder[key] = value
    return path


def record_field(format: str, answer: bool) -> str:
    """What checks of content call the prompt or the answer of a format."""
    if format in PAIRS:
        return "completion" if answer else "prompt"
    if format in TEXTS:
        return "text"
    return "assistant turn 1" if answer else "user turn 1"


def in_answer(value: Any) -> Plant:
    return lambda data, format: put(data[INDEX], ANSWER[format], value)


def in_prompt(value: Any) -> Plant:
    return lambda data, format: put(data[INDEX], PROMPT[format], value)


def added(text: str, answer: bool = False) -> Plant:
    """Text appended to a field; what is checked there has the record's name for it."""

    def plant(data: list[Row], format: str) -> str:
        path = (ANSWER if answer else PROMPT)[format]
        put(data[INDEX], path, read(data[INDEX], path) + text)
        return record_field(format, answer)

    return plant


def turns(row: Row, format: str) -> list[Any]:
    return row[LISTS[format]]


def unknown_role(data: list[Row], format: str) -> str:
    return put(data[INDEX], f"{LISTS[format]}[1].{ROLE[format]}", "robot")


def missing_assistant(data: list[Row], format: str) -> str:
    del turns(data[INDEX], format)[1]
    return LISTS[format]


def last_turn_user(data: list[Row], format: str) -> str:
    turns(data[INDEX], format).append(turns(data[INDEX], format)[0])
    return f"{LISTS[format]}[2]"


def same_role_twice(data: list[Row], format: str) -> str:
    turns(data[INDEX], format).append(turns(data[INDEX], format)[1])
    return f"{LISTS[format]}[2]"


def assistant_first(data: list[Row], format: str) -> str:
    turns(data[INDEX], format).insert(0, turns(data[INDEX], format)[1])
    return f"{LISTS[format]}[0]"


def two_systems(data: list[Row], format: str) -> str:
    row = data[INDEX]
    if format == "claude":
        row["messages"].insert(0, {"role": "system", "content": "Be brief."})
        return "messages[0].role"
    if format == "bedrock-conversation-2024":
        row["system"] = [{"text": "Be brief."}, {"text": "Be kind."}]
        return "system[1]"
    turn = {"role": "system", "content": "Be brief."} if format == "openai-chat" else {"from": "system", "value": "Hm."}
    turns(row, format)[:0] = [turn, turn]
    return f"{LISTS[format]}[1]"


def system_not_first(data: list[Row], format: str) -> str:
    turn = {"role": "system", "content": "Be brief."} if format == "openai-chat" else {"from": "system", "value": "Hm."}
    turns(data[INDEX], format).insert(1, turn)
    return f"{LISTS[format]}[1]"


def without_answer(data: list[Row], format: str) -> str:
    holder, key = locate(data[INDEX], ANSWER[format])
    del holder[key]
    return ANSWER[format]


def typo(data: list[Row], format: str) -> str:
    holder, key = locate(data[INDEX], ANSWER[format])
    holder[f"{key}s"] = holder.pop(key)
    return ANSWER[format]


def repeated(data: list[Row], format: str) -> str:
    data[INDEX] = data[3]
    return "text" if format in TEXTS else "prompt"


def nearly_repeated(data: list[Row], format: str) -> str:
    put(data[INDEX], PROMPT[format], read(data[3], PROMPT[format]).replace("?", " ?").replace("the", "The") + "!")
    return "text" if format in TEXTS else "prompt"


def answered_otherwise(data: list[Row], format: str) -> str:
    put(data[INDEX], PROMPT[format], read(data[3], PROMPT[format]).upper())
    return "prompt"


def answer_is_prompt(data: list[Row], format: str) -> str:
    put(data[INDEX], ANSWER[format], read(data[INDEX], PROMPT[format]))
    return record_field(format, answer=True)


def prompt_leak(data: list[Row], format: str) -> str:
    put(data[INDEX], ANSWER[format], f"You asked: {read(data[INDEX], PROMPT[format])} I do not know that.")
    return record_field(format, answer=True)


def foreign_format(data: list[Row], format: str) -> str:
    data[INDEX] = rows("sharegpt" if format == "alpaca" else "alpaca")[INDEX]
    return ""


def russian(data: list[Row], format: str) -> str:
    put(data[INDEX], PROMPT[format], "Почему утренний поезд в гавань уходит так поздно, что никто не успевает на него?")
    if format in ANSWER:
        put(data[INDEX], ANSWER[format], "Потому что зимой порт открывают только после восхода солнца.")
    return ""


PLANTED: dict[str, tuple[tuple[str, ...], Plant]] = {
    "wrong-type": (ANSWERED, in_answer(17)),
    "null-content": (ANSWERED, in_answer(None)),
    "empty-content": (ANSWERED, in_prompt("")),
    "whitespace-only": (ANSWERED, in_answer(" \n ")),
    "nul-character": (ALL, lambda data, format: put(data[INDEX], PROMPT[format], "a\0b")),
    "control-character": (ALL, lambda data, format: put(data[INDEX], PROMPT[format], "Why does \x1b ring here?")),
    "lone-surrogate": (ALL, lambda data, format: put(data[INDEX], PROMPT[format], "half \ud83d a smile")),
    "unknown-role": (CONVERSATIONS, unknown_role),
    "missing-assistant": (CONVERSATIONS, missing_assistant),
    "last-turn-user": (CONVERSATIONS, last_turn_user),
    "roles-not-alternating": (CONVERSATIONS, same_role_twice),
    "first-turn-assistant": (CONVERSATIONS, assistant_first),
    "two-systems": (CONVERSATIONS, two_systems),
    "system-not-first": (("openai-chat", "sharegpt"), system_not_first),
    "missing-field": (ANSWERED, without_answer),
    "exact-duplicate": (ALL, repeated),
    "near-duplicate": (ALL, nearly_repeated),
    "conflicting-answers": (ANSWERED, answered_otherwise),
    "answer-is-prompt": (ANSWERED, answer_is_prompt),
    "prompt-leak": (ANSWERED, prompt_leak),
    "format-mismatch": (ALL, foreign_format),
    "language-mix": (ALL, russian),
    "special-token": (ALL, added(" <|im_end|>")),
    "pii-email": (ALL, added(" Write to eva.lund@example.org soon.")),
    "pii-phone": (ALL, added(" Call (212) 555-0147 now.")),
    "pii-card": (ALL, added(" Use 4111 1111 1111 1111 here.")),
    "pii-iban": (ANSWERED, added(" Pay to DE89 3704 0044 0532 0130 00 please.", answer=True)),
    "secret-aws-key": (ANSWERED, added(" AKIAJ4Z7Q2XW5N3RTKLM", answer=True)),
    "secret-private-key": (ANSWERED, added("\n-----BEGIN RSA PRIVATE KEY-----\n", answer=True)),
    "secret-jwt": (ANSWERED, added(" eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27u", answer=True)),
}
