"""How a model is asked: a prompt in the form that it was trained on prompts, and where its answer begins."""

from __future__ import annotations

from collections.abc import Sequence

from outcrop.data.mapping import fill
from outcrop.data.records import Conversation, Message, Origin, Pair, Record
from outcrop.models.folder import ModelFolder

PROMPT = Origin("the prompt", 0)


def asked_record(folder: ModelFolder, prompt: str | Sequence[Message], origin: Origin = PROMPT) -> Record:
    """The prompt as the model was trained on prompts: through its template, and as a turn or as plain text.

    Raises UsageError where the template needs more than a prompt.
    """
    if not isinstance(prompt, str):
        return Conversation(tuple(prompt), origin)
    card = folder.card
    form = card.get("prompt")
    if form:
        prompt = fill(form["template"], {"prompt": prompt, form["column"]: prompt})
    turn = Message("user", prompt)
    return Conversation((turn,), origin) if card.get("conversations") else Pair(prompt, "", origin)


def answers(folder: ModelFolder, record: Record) -> bool:
    """Whether what follows is an answer, so that white space before it is the rendering's and not the answer's."""
    return folder.card.get("kind") == "fine-tuned" or isinstance(record, Conversation)
