"""What callers ask of a model, and what comes back, in no API's words: every format of bodies is read into these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from outcrop.core.completions import Sampling, TopLogprobs
from outcrop.core.engines import Usage
from outcrop.data.records import Message

WHOLE_CONTEXT = 2**31 - 1
"""As the longest answer: as much as the model's context leaves room for."""

EndReason = Literal["stop", "stop_string", "length", "context"]
"""context: the model's context was full before the length that was asked for."""


@dataclass(frozen=True)
class Ask:
    """A question and how to answer it. Stop ids are the model's; seed None draws a new one for each request.

    prompt: text, asked as the model learnt to be asked unless it holds special tokens, which the caller's own
    templating has put there; turns; or token ids, taken as they are. logprobs, echo, include_usage: what is shown
    besides the answer: log-probabilities, the prompt before it, the tokens at the end of a stream. user: on whose
    behalf the caller asks, for turns that are shared fairly.
    """

    prompt: str | tuple[Message, ...] | tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    n: int = 1
    seed: int | None = None
    logprobs: bool = False
    echo: bool = False
    include_usage: bool = False
    user: str = ""


class Ending(NamedTuple):
    """How one answer ended."""

    reason: EndReason
    stop_string: str | None
    usage: Usage


class Piece(NamedTuple):
    """What is new of answer `number`, without the token that ends it; the last piece has its ending."""

    number: int
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[TopLogprobs, ...] = ()
    ending: Ending | None = None


class Answer(NamedTuple):
    """One whole answer."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    top_logprobs: tuple[TopLogprobs, ...]
    ending: Ending


def sampled(defaults: Sampling, **given: Any) -> Sampling:
    """Sampling by the fields that are given; None is not. top_p may be 0 here: only the likeliest token is left."""
    fields = {name: value for name, value in given.items() if value is not None}
    if fields.get("top_p") == 0:
        fields |= {"top_p": 1.0, "top_k": 1}
    if "stop_strings" in fields:
        fields["stop_strings"] = tuple(fields["stop_strings"])
    return replace(defaults, **fields)


def joined(pieces: Sequence[Piece]) -> Piece:
    """Pieces of one answer as one."""
    return Piece(
        pieces[-1].number,
        "".join(piece.text for piece in pieces),
        tuple(token for piece in pieces for token in piece.token_ids),
        tuple(logprob for piece in pieces for logprob in piece.logprobs),
        tuple(top for piece in pieces for top in piece.top_logprobs),
        pieces[-1].ending,
    )


def whole(pieces: Sequence[Piece], n: int) -> list[Answer]:
    """The answers that all pieces together are, in their order."""
    answers = []
    for number in range(n):
        _, text, token_ids, logprobs, top_logprobs, ending = joined([each for each in pieces if each.number == number])
        assert ending is not None, "an answer has not ended"
        answers.append(Answer(text, token_ids, logprobs, top_logprobs, ending))
    return answers


def total(answers: Sequence[Answer]) -> Usage:
    """The tokens of all answers to one prompt."""
    usages = [answer.ending.usage for answer in answers]
    return Usage(usages[0].prompt_tokens, usages[0].cached_tokens, sum(usage.completion_tokens for usage in usages))
