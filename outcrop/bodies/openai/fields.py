"""Fields that chat completions and completions share, and what they make of sampling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from outcrop.bodies.asks import EndReason, Piece, sampled
from outcrop.bodies.body import Body
from outcrop.bodies.replies import Context
from outcrop.core.completions import Constraint, Sampling, biases_from
from outcrop.core.errors import UsageError

Bias = Annotated[float, Field(ge=-100, le=100)]
MOST_ANSWERS = 128
ANY_OBJECT = '{"type": "object"}'


class JsonSchema(Body):
    """A named schema; strict or not, answers follow it."""

    name: str
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """The form of answers."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(Body):
    """The form of answers as vLLM, and imported models on Bedrock, name it. One of the fields may be given."""

    json_: str | dict[str, Any] | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None


class StreamOptions(Body):
    """include_usage: whether a last chunk tells the tokens of all answers."""

    include_usage: bool = False


class Sampled(Body):
    """top_k, min_p, repetition_penalty and structured_outputs are vLLM's additions."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {"frequency_penalty": (0,), "presence_penalty": (0,)}

    model: str | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0, le=2)
    n: int | None = Field(default=None, ge=1, le=MOST_ANSWERS)
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    logit_bias: dict[str, Bias] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    def sampling(self, defaults: Sampling, max_new_tokens: int | None, top_logprobs: int | None) -> Sampling:
        """The sampling of these fields. Raises UsageError for what contradicts itself."""
        return sampled(
            defaults,
            max_new_tokens=max_new_tokens,
            temperature=self.temperature,
            top_k=None if self.top_k is None else max(0, self.top_k),
            top_p=self.top_p,
            stop_strings=[self.stop] if isinstance(self.stop, str) else self.stop,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            logit_bias=None if self.logit_bias is None else biases_from(self.logit_bias),
            top_logprobs=top_logprobs,
            constraint=constraint(self.response_format, self.structured_outputs),
        )

    def manner(self) -> dict[str, Any]:
        """Fields of an Ask that do not concern its sampling."""
        return {
            "n": self.n or 1,
            "seed": self.seed,
            "user": self.user or "",
            "include_usage": self.stream_options is not None and self.stream_options.include_usage,
        }


class StreamedTokens:
    """Counts the tokens of a request's answers until the last of them has ended."""

    def __init__(self, context: Context) -> None:
        self._wanted, self._open, self._completion = context.ask.include_usage, context.ask.n, 0

    def after(self, piece: Piece) -> dict[str, Any] | None:
        """The tokens of all answers, if this piece ends the last one and they are asked for."""
        if piece.ending is None:
            return None
        spent = piece.ending.usage
        self._open -= 1
        self._completion += spent.completion_tokens
        done = self._wanted and not self._open
        return usage(spent.prompt_tokens, spent.cached_tokens, self._completion) if done else None


def constraint(response_format: ResponseFormat | None, outputs: StructuredOutputs | None) -> Constraint | None:
    """The form of answers that one of the two fields asks for. Raises UsageError where both do, or neither does."""
    wanted: list[Constraint] = []
    if response_format is not None and response_format.type == "json_object":
        wanted.append(Constraint("json_schema", ANY_OBJECT))
    if response_format is not None and response_format.type == "json_schema":
        if response_format.json_schema is None:
            raise UsageError("The response format has no schema.", "Give json_schema.", "response_format.json_schema")
        wanted.append(Constraint("json_schema", json.dumps(response_format.json_schema.schema_)))
    if outputs is not None:
        if outputs.json_ is not None:
            schema = outputs.json_ if isinstance(outputs.json_, str) else json.dumps(outputs.json_)
            wanted.append(Constraint("json_schema", schema))
        if outputs.regex is not None:
            wanted.append(Constraint("regex", outputs.regex))
        if outputs.choice is not None:
            wanted.append(Constraint("choice", json.dumps(outputs.choice)))
    if len(wanted) > 1 or (outputs is not None and not wanted):
        raise UsageError("The form of the answer must be given once.", "Give one of its fields.", "response_format")
    return wanted[0] if wanted else None


def finish_reason(reason: EndReason) -> str:
    """OpenAI's word for how an answer ended."""
    return "stop" if reason in ("stop", "stop_string") else "length"


def usage(prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """The tokens of a request and all its answers."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }
