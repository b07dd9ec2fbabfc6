"""What a format of InvokeModel bodies is: a reading of requests, and a writing of answers, whole and in chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from outcrop.bodies.asks import Answer, Ask, EndReason, Piece
from outcrop.bodies.replies import Context
from outcrop.core.completions import Sampling
from outcrop.core.errors import UsageError

Chunks = list[dict[str, Any]]


class Stream(Protocol):
    """The chunks of one streamed answer."""

    def begin(self) -> Chunks:
        """What comes before the first text."""
        ...

    def piece(self, piece: Piece) -> Chunks:
        """What a piece adds; the last one has its ending."""
        ...


class Format(Protocol):
    """A format of bodies. defaults: the sampling of a request that says nothing about it."""

    defaults: Sampling

    def read(self, body: Mapping[str, Any], defaults: Sampling | None = None) -> Ask:
        """The request in a body. defaults: others than the family's. Raises UsageError with every problem."""
        ...

    def write(self, answers: Sequence[Answer], context: Context) -> dict[str, Any]:
        """The body of the whole answer."""
        ...

    def stream(self, context: Context) -> Stream:
        """A writer of the answer's chunks."""
        ...


def only(answers: Sequence[Answer]) -> Answer:
    """The answer, in formats that have one."""
    [answer] = answers
    return answer


def operation_streams(stream: bool | None) -> None:
    """Refuse OpenAI's field `stream`: on Bedrock the operation says it."""
    if stream is not None:
        raise UsageError("stream is given.", "Leave it out: the operation says whether answers are streamed.", "stream")


def choose(names: Mapping[str, Any], default: Any = None) -> Any:
    """The value of a field with two spellings. Raises UsageError if both are used."""
    given = {name: value for name, value in names.items() if value is not None}
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are the same field.", "Give one of them.", next(iter(given)))
    return next(iter(given.values()), default)


STOP_REASONS: dict[EndReason, str] = {
    "stop": "end_turn",
    "stop_string": "stop_sequence",
    "length": "max_tokens",
    "context": "model_context_window_exceeded",
}
"""As Converse, Claude and Nova call how an answer ended."""

SHORT_REASONS: dict[EndReason, str] = {"stop": "stop", "stop_string": "stop", "length": "length", "context": "length"}
"""As Llama, Mistral and OpenAI call it."""
