"""Claude's messages: turns with text blocks, and events in Anthropic's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from outcrop.bodies.asks import WHOLE_CONTEXT, Answer, Ask, Piece, sampled
from outcrop.bodies.bedrock.format import STOP_REASONS, Chunks, Format, Stream, only
from outcrop.bodies.body import LEFT_OUT, Body
from outcrop.bodies.replies import Context
from outcrop.bodies.turns import in_turns
from outcrop.core.completions import Sampling
from outcrop.data.records import Message

DEFAULTS = Sampling(max_new_tokens=WHOLE_CONTEXT, temperature=1.0)


class TextBlock(Body):
    """A part of a turn; cache_control asks for what the engine does anyway: beginnings are kept."""

    type: Literal["text"]
    text: str
    cache_control: dict[str, Any] | None = None


class Turn(Body):
    """A turn, its content as text or in blocks."""

    role: Literal["user", "assistant"]
    content: str | list[TextBlock]


class ClaudeBody(Body):
    """Fields as documented for Anthropic's models on Bedrock."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "tools": ([],),
        "tool_choice": (),
        "thinking": ({"type": "disabled"},),
        "anthropic_beta": ([],),
    }

    anthropic_version: Literal["bedrock-2023-05-31"]
    max_tokens: int = Field(ge=1)
    messages: list[Turn] = Field(min_length=1)
    system: str | list[TextBlock] = ""
    temperature: float = Field(default=LEFT_OUT, ge=0, le=1)
    top_p: float = Field(default=LEFT_OUT, ge=0, le=1)
    top_k: int = Field(default=LEFT_OUT, ge=0, le=500)
    stop_sequences: list[str] = Field(default=LEFT_OUT, max_length=8191)


class Claude(Format):
    """Turns are rendered by the model's chat template."""

    defaults = DEFAULTS

    def read(self, body: Mapping[str, Any], defaults: Sampling | None = None) -> Ask:
        fields = ClaudeBody.read(body)
        turns = [Message(turn.role, text_of(turn.content)) for turn in fields.messages]
        system = text_of(fields.system)
        sampling = sampled(
            defaults or DEFAULTS,
            max_new_tokens=fields.max_tokens,
            temperature=fields.temperature,
            top_p=fields.top_p,
            top_k=fields.top_k,
            stop_strings=fields.stop_sequences,
        )
        return Ask(in_turns([system] if system else [], turns), sampling)

    def write(self, answers: Sequence[Answer], context: Context) -> dict[str, Any]:
        answer = only(answers)
        return _message(context) | {
            "content": [{"type": "text", "text": answer.text}],
            "stop_reason": STOP_REASONS[answer.ending.reason],
            "stop_sequence": answer.ending.stop_string,
            "usage": {"input_tokens": context.prompt_tokens, "output_tokens": answer.ending.usage.completion_tokens},
        }

    def stream(self, context: Context) -> ClaudeStream:
        return ClaudeStream(context)


class ClaudeStream(Stream):
    """Events of one text block."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def begin(self) -> Chunks:
        empty: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
        usage = {"usage": {"input_tokens": self._context.prompt_tokens, "output_tokens": 0}}
        return [
            {"type": "message_start", "message": _message(self._context) | empty | usage},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ]

    def piece(self, piece: Piece) -> Chunks:
        delta = {"type": "text_delta", "text": piece.text}
        chunks: Chunks = [{"type": "content_block_delta", "index": 0, "delta": delta}] if piece.text else []
        if piece.ending is None:
            return chunks
        end = {"stop_reason": STOP_REASONS[piece.ending.reason], "stop_sequence": piece.ending.stop_string}
        usage = {"output_tokens": piece.ending.usage.completion_tokens}
        return [
            *chunks,
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": end, "usage": usage},
            {"type": "message_stop"},
        ]


def text_of(content: str | Sequence[TextBlock]) -> str:
    """The text of content in either form; blocks are joined by line breaks, as records in Converse's form are."""
    return content if isinstance(content, str) else "\n".join(block.text for block in content)


def _message(context: Context) -> dict[str, Any]:
    return {"id": f"msg_{context.request_id}", "type": "message", "role": "assistant", "model": context.model_id}


FORMAT = Claude()
