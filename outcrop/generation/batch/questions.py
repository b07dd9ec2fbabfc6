"""What a row of a batch asks, whatever form it is written in; and why it gets no answer, where it gets none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from outcrop.core.completions import Completion, Sampling
from outcrop.core.errors import OutcropError, UserError
from outcrop.data.records import Message, Record
from outcrop.models.rendering import Renderer

Written = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """prompt: text to go on from as it is, special tokens included; or turns or a record, put in the model's form.

    sampling: the fields of core.completions.Sampling that the row sets; all others are the job's.
    write: the answers and a short id of the row → the body of the response.
    """

    prompt: str | tuple[Message, ...] | Record
    sampling: Mapping[str, Any]
    write: Callable[[Sequence[Completion], str], Written]
    n: int = 1


@dataclass(frozen=True)
class Refusal:
    """Why a row has no answer. status: as HTTP has it, 4xx for the row's own fault, 5xx for ours."""

    status: int
    message: str

    @classmethod
    def of(cls, error: OutcropError) -> Refusal:
        """The refusal that an error means."""
        return cls(400 if isinstance(error, UserError) else 500, str(error))


class BodyReader(Protocol):
    """Reads the body of a request that is written for an API."""

    def __call__(self, kind: str, body: Mapping[str, Any]) -> Question:
        """kind: "InvokeModel" or "Converse" for Bedrock's, the url for OpenAI's. Raises UserError for what it does
        not read; the row then gets that as its error."""
        ...


@dataclass(frozen=True)
class Responder:
    """Who answers. created: the job's beginning, in seconds since 1970; defaults: of what bodies leave open.

    foundation: the foundation model that it is or was made from, whose format bodies have; empty for any.
    """

    model: str
    created: int
    renderer: Renderer
    defaults: Sampling = field(default_factory=Sampling)
    foundation: str = ""
