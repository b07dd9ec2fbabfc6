"""The order of turns: what a conversation must be to be rendered as conversations were in training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from outcrop.core.errors import UsageError
from outcrop.data.records import Message


def in_turns(system: Sequence[str], turns: Sequence[Message], where: str = "messages") -> tuple[Message, ...]:
    """The conversation of system texts, joined by line breaks, and turns that begin with the user's and alternate.

    Raises UsageError for any other order and for turns without text.
    """
    if not turns or turns[0].role != "user":
        raise UsageError(
            "A conversation must start with a user message.",
            "Try again with a conversation that starts with a user message.",
            where,
        )
    for earlier, later in pairwise(turns):
        if earlier.role == later.role:
            raise UsageError(
                "A conversation must alternate between user and assistant roles.",
                "Make sure the conversation alternates between user and assistant roles and try again.",
                where,
            )
    for number, turn in enumerate(turns):
        if not turn.content.strip():
            raise UsageError(f"The text of message {number} is blank.", "Add text to it, and try again.", where)
    head = [Message("system", "\n".join(system))] if system else []
    return (*head, *turns)
