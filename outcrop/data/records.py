"""THE record types. Every format is read into one of these, every part above takes one of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record came from: file as the user named it, 1-based line (or row, for tables); 0 for none."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = Origin("<memory>", 0)


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and the completion to learn: Bedrock's prompt/completion."""

    prompt: str
    completion: str
    origin: Origin = NOWHERE
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. weight 0 keeps an assistant turn as context without training on it (OpenAI's `weight`)."""

    role: Role
    content: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Conversation:
    """Single- or multi-turn messages: at most one system message, first, then user and assistant in turns."""

    messages: tuple[Message, ...]
    origin: Origin = NOWHERE
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """Unlabelled text for continued pre-training: Bedrock's {"input": …}."""

    text: str
    origin: Origin = NOWHERE
    fields: Mapping[str, Any] = field(default_factory=dict)


Record = Pair | Conversation | Text


def prompt_text(record: Record) -> str:
    """The part of a record that a model is given, as plain text: what near-duplicate search compares."""
    if isinstance(record, Pair):
        return record.prompt
    if isinstance(record, Text):
        return record.text
    turns = record.messages[:-1] if record.messages[-1].role == "assistant" else record.messages
    return "\n".join(turn.content for turn in turns)


def answer_text(record: Record) -> str:
    """The reference answer of a record: the completion, or the last assistant turn; empty for text."""
    if isinstance(record, Pair):
        return record.completion
    if isinstance(record, Conversation) and record.messages[-1].role == "assistant":
        return record.messages[-1].content
    return ""


class Part(NamedTuple):
    """One text of a record, under the name that messages use for it."""

    field: str
    text: str


def parts(record: Record) -> list[Part]:
    """The texts of a record: prompt and completion, text, or the turns by role ("assistant turn 2")."""
    if isinstance(record, Pair):
        return [Part("prompt", record.prompt), Part("completion", record.completion)]
    if isinstance(record, Text):
        return [Part("text", record.text)]
    seen: Counter[str] = Counter()
    named = []
    for message in record.messages:
        seen[message.role] += 1
        name = "system" if message.role == "system" else f"{message.role} turn {seen[message.role]}"
        named.append(Part(name, message.content))
    return named


def with_texts(record: Record, texts: Sequence[str]) -> Record:
    """The record with other texts, one for each of `parts(record)`; everything else stays."""
    if isinstance(record, Pair):
        return replace(record, prompt=texts[0], completion=texts[1])
    if isinstance(record, Text):
        return replace(record, text=texts[0])
    turns = zip(record.messages, texts, strict=True)
    return replace(record, messages=tuple(replace(message, content=text) for message, text in turns))


def is_answer(field: str) -> bool:
    """Whether a part, by its name, is something to learn as an answer: a completion, or a turn of the assistant."""
    return field == "completion" or field.startswith("assistant")
