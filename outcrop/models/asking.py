"""How a model is asked: a prompt in the form that it was trained on prompts, and where its answer begins."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from outcrop.core.errors import UsageError, did_you_mean
from outcrop.data.mapping import fill, is_filled
from outcrop.data.records import Conversation, Message, Origin, Pair, Record, Role, Text
from outcrop.models.folder import ModelFolder
from outcrop.models.rendering import Renderer

TUNED = ("fine-tuned", "distilled", "cascade")
"""Kinds of models that were made to answer."""
PROMPT = Origin("the prompt", 0)


class Question(NamedTuple):
    """What a model continues. answers: the text is an answer, so white space before it is the rendering's."""

    prompt_ids: tuple[int, ...]
    answers: bool


def asked_record(folder: ModelFolder, prompt: str | Sequence[Message], origin: Origin = PROMPT) -> Record:
    """The prompt as the model was trained on prompts: through its template, and as a turn or as plain text. One turn of
    the user asks a model that was tuned on pairs as a prompt: it knows no turns.

    Raises UsageError where the template needs more than a prompt, and for text that is not UTF-8.
    """
    on_pairs = folder.card.get("kind") in TUNED and not folder.card.get("conversations")
    if on_pairs and not isinstance(prompt, str) and [message.role for message in prompt] == ["user"]:
        prompt = prompt[0].content
    for text in [prompt] if isinstance(prompt, str) else [message.content for message in prompt]:
        check_utf8(text, origin)
    if not isinstance(prompt, str):
        return Conversation(tuple(prompt), origin)
    prompt = in_form(folder, prompt)
    turn = Message("user", prompt)
    return Conversation((turn,), origin) if folder.card.get("conversations") else Pair(prompt, "", origin)


def in_form(folder: ModelFolder, prompt: str) -> str:
    """The prompt in the template that the model was trained with; one that has its words already, as rows of a split
    have, is taken as it is. Raises UsageError where the template needs more than a prompt."""
    form = folder.card.get("prompt")
    if not form or is_filled(form["template"], prompt):
        return prompt
    return fill(form["template"], {"prompt": prompt, form["column"]: prompt})


def checked_prompt(prompt: Any, origin: Origin = PROMPT) -> str | Sequence[Message]:
    """What a caller in Python asks: a text, or turns that do not end with the assistant's. Raises UsageError."""
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, list | tuple) or not prompt or not all(isinstance(turn, Message) for turn in prompt):
        allowed = "a text, or a list of outcrop.data.records.Message(role, content) with one turn at least"
        raise UsageError(f"The prompt is {reprlib.repr(prompt)}.", f"Allowed: {allowed}.", str(origin))
    strange = [turn.role for turn in prompt if turn.role not in get_args(Role)]
    if strange:
        raise UsageError(f"A turn has the role {strange[0]!r}.", did_you_mean(strange[0], get_args(Role)), str(origin))
    if prompt[-1].role == "assistant":
        raise UsageError("The last turn is the assistant's.", "End with the turn that asks.", str(origin))
    return prompt


def check_utf8(text: str, origin: Origin) -> None:
    """Raise UsageError for bytes of a command line or a pipe that are no UTF-8, which come in as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"Character {error.start + 1} is not UTF-8.", "Write text as UTF-8.", str(origin)) from None


def answers(folder: ModelFolder, record: Record) -> bool:
    """Whether what follows is an answer, so that white space before it is the rendering's and not the answer's."""
    return folder.card.get("kind") in TUNED or isinstance(record, Conversation)


def prompt_question(renderer: Renderer, folder: ModelFolder, prompt: str) -> Question:
    """A prompt of a client: one with special tokens went through a template there already, and is taken as it is."""
    if renderer.special_tokens_in(Text(prompt)):
        return Question(tuple(renderer.templated(prompt)), answers=False)
    record = asked_record(folder, prompt)
    return Question(tuple(renderer.prompt(record)), answers(folder, record))


def conversation_question(renderer: Renderer, folder: ModelFolder, messages: Sequence[Message]) -> Question:
    """The question of a client's turns.

    An assistant's turn at the end is an answer begun: the model goes on with it. Raises DataError for special tokens.
    """
    record = asked_record(folder, messages)
    ids = renderer.prompt(record)
    if messages[-1].role != "assistant":
        return Question(tuple(ids), answers=True)
    *begun, last = renderer.answer(record, messages[-1].content)
    return Question((*ids, *begun, *renderer.endings.get(last, ())), answers=False)  # without what closes it
