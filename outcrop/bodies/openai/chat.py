"""Chat completions: turns in, answers out, whole or in chunks. Pure functions of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from outcrop.bodies.asks import WHOLE_CONTEXT, Answer, Ask, Piece, total
from outcrop.bodies.body import Body
from outcrop.bodies.openai.fields import Sampled, StreamedTokens, finish_reason, usage
from outcrop.bodies.replies import Context
from outcrop.bodies.turns import in_turns
from outcrop.core.completions import Sampling, TopLogprobs
from outcrop.core.errors import UsageError
from outcrop.data.records import Message

DEFAULTS = Sampling(max_new_tokens=WHOLE_CONTEXT, temperature=1.0)


class TextPart(Body):
    """A part of a turn."""

    type: Literal["text"]
    text: str


class Turn(Body):
    """A turn; developer is a newer word for system."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """Its text; parts are joined by line breaks, as records with parts are."""
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


class ChatBody(Sampled):
    """Fields of a chat completion."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **Sampled.unsupported,
        "audio": (),
        "function_call": ("none",),
        "functions": ([],),
        "metadata": ({},),
        "modalities": (["text"],),
        "parallel_tool_calls": (True, False),
        "prediction": (),
        "prompt_cache_key": (),
        "reasoning_effort": ("none",),
        "safety_identifier": (),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "verbosity": (),
        "web_search_options": (),
    }

    messages: list[Turn] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)


def read(body: Mapping[str, Any], defaults: Sampling = DEFAULTS) -> tuple[ChatBody, Ask]:
    """The request in a body. Raises UsageError with every problem."""
    fields = ChatBody.read(body)
    if fields.top_logprobs and not fields.logprobs:
        raise UsageError("top_logprobs needs logprobs.", "Set logprobs to true.", "top_logprobs")
    if fields.max_tokens is not None and fields.max_completion_tokens is not None:
        raise UsageError("max_tokens and max_completion_tokens are the same.", "Give one of them.", "max_tokens")
    system, turns = [], []
    for number, turn in enumerate(fields.messages):
        if turn.role not in ("system", "developer"):
            turns.append(Message("user" if turn.role == "user" else "assistant", turn.text))
        elif turns:
            raise UsageError("A system message comes later.", "Put it first.", f"messages.{number}.role")
        else:
            system.append(turn.text)
    longest = fields.max_completion_tokens or fields.max_tokens
    sampling = fields.sampling(defaults, longest, fields.top_logprobs)
    conversation = in_turns(system, turns)
    return fields, Ask(conversation, sampling, logprobs=bool(fields.logprobs), **fields.manner())


def write(answers: Sequence[Answer], context: Context) -> dict[str, Any]:
    """The body of the whole answer."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
            "logprobs": _logprobs(answer, context) if context.ask.logprobs else None,
            "finish_reason": finish_reason(answer.ending.reason),
        }
        for index, answer in enumerate(answers)
    ]
    tokens = total(answers)
    return _head(context, "chat.completion") | {
        "choices": choices,
        "usage": usage(tokens.prompt_tokens, tokens.cached_tokens, tokens.completion_tokens),
    }


class ChatStream:
    """Chunks of one or more answers."""

    def __init__(self, context: Context) -> None:
        self._context, self._logprobs = context, context.ask.logprobs
        self._tokens = StreamedTokens(context)

    def begin(self) -> list[dict[str, Any]]:
        """The role of every answer."""
        return [self._chunk(index, {"role": "assistant", "content": ""}) for index in range(self._context.ask.n)]

    def piece(self, piece: Piece) -> list[dict[str, Any]]:
        """What a piece adds, how its answer ended, and after the last one the tokens of all, if they are asked for."""
        chunks = []
        if piece.text or (self._logprobs and piece.token_ids):
            found = _logprobs(piece, self._context) if self._logprobs else None
            chunks.append(self._chunk(piece.number, {"content": piece.text}, found))
        if piece.ending is not None:
            chunks.append(self._chunk(piece.number, {}, None, finish_reason(piece.ending.reason)))
        if counted := self._tokens.after(piece):
            chunks.append(_head(self._context, "chat.completion.chunk") | {"choices": [], "usage": counted})
        return chunks

    def _chunk(
        self, index: int, delta: dict[str, str], logprobs: Any = None, reason: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return _head(self._context, "chat.completion.chunk") | {"choices": [choice]}


def _head(context: Context, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{context.request_id}",
        "object": kind,
        "created": context.created,
        "model": context.model_id,
    }


def _logprobs(given: Answer | Piece, context: Context) -> dict[str, Any]:
    tops: Sequence[TopLogprobs] = given.top_logprobs or [()] * len(given.token_ids)
    texts = context.token_texts(given.token_ids)
    content = []
    for number, text, logprob, top in zip(given.token_ids, texts, given.logprobs, tops, strict=True):
        likeliest = [_token(context, token, context.token_texts([token])[0], value) for token, value in top]
        content.append(_token(context, number, text, logprob) | {"top_logprobs": likeliest})
    return {"content": content, "refusal": None}


def _token(context: Context, number: int, text: str, logprob: float) -> dict[str, Any]:
    piece = context.token_bytes(number) if context.token_bytes else text.encode()
    return {"token": text, "logprob": logprob, "bytes": list(piece)}
