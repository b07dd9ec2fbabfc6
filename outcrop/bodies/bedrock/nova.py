"""Nova's bodies: Converse's turns with an inference configuration in either of two spellings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from outcrop.bodies.asks import WHOLE_CONTEXT, Answer, Ask, Piece, sampled
from outcrop.bodies.bedrock.format import STOP_REASONS, Chunks, Format, Stream, choose, only
from outcrop.bodies.body import LEFT_OUT, Body
from outcrop.bodies.replies import Context
from outcrop.bodies.turns import in_turns
from outcrop.core.completions import Sampling
from outcrop.data.records import Message

DEFAULTS = Sampling(max_new_tokens=WHOLE_CONTEXT, temperature=0.7, top_p=0.9)


class TextBlock(Body):
    """A part of a turn or of the system prompt; cachePoint asks for what the engine does anyway."""

    text: str
    cachePoint: dict[str, Any] | None = None


class Turn(Body):
    """A turn."""

    role: Literal["user", "assistant"]
    content: list[TextBlock] = Field(min_length=1)


class InferenceConfig(Body):
    """Both spellings occur; one may be used."""

    maxTokens: int | None = Field(default=None, ge=1)
    max_new_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=LEFT_OUT, ge=0, le=1)
    topP: float | None = Field(default=None, ge=0, le=1)
    top_p: float | None = Field(default=None, ge=0, le=1)
    topK: int | None = Field(default=None, ge=0, le=128)
    top_k: int | None = Field(default=None, ge=0, le=128)
    stopSequences: list[str] = LEFT_OUT


class NovaBody(Body):
    """Fields as documented for Nova's text models."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "toolConfig": (),
        "reasoningConfig": ({"type": "disabled"},),
    }

    schemaVersion: Literal["messages-v1"] = "messages-v1"
    system: list[TextBlock] = Field(default_factory=list)
    messages: list[Turn] = Field(min_length=1)
    inferenceConfig: InferenceConfig = Field(default_factory=InferenceConfig)


class Nova(Format):
    """Turns are rendered by the model's chat template."""

    defaults = DEFAULTS

    def read(self, body: Mapping[str, Any], defaults: Sampling | None = None) -> Ask:
        fields = NovaBody.read(body)
        config = fields.inferenceConfig
        turns = [Message(turn.role, "\n".join(block.text for block in turn.content)) for turn in fields.messages]
        sampling = sampled(
            defaults or DEFAULTS,
            max_new_tokens=choose({"maxTokens": config.maxTokens, "max_new_tokens": config.max_new_tokens}),
            temperature=config.temperature,
            top_p=choose({"topP": config.topP, "top_p": config.top_p}),
            top_k=choose({"topK": config.topK, "top_k": config.top_k}),
            stop_strings=config.stopSequences,
        )
        return Ask(in_turns([block.text for block in fields.system], turns), sampling)

    def write(self, answers: Sequence[Answer], context: Context) -> dict[str, Any]:
        answer = only(answers)
        return {
            "output": {"message": {"role": "assistant", "content": [{"text": answer.text}]}},
            "stopReason": STOP_REASONS[answer.ending.reason],
            "usage": _usage(context.prompt_tokens, answer.ending.usage.completion_tokens),
        }

    def stream(self, context: Context) -> NovaStream:
        return NovaStream(context)


class NovaStream(Stream):
    """Events named as Converse's are."""

    def __init__(self, context: Context) -> None:
        self._prompt_tokens = context.prompt_tokens

    def begin(self) -> Chunks:
        return [{"messageStart": {"role": "assistant"}}]

    def piece(self, piece: Piece) -> Chunks:
        delta = {"contentBlockDelta": {"delta": {"text": piece.text}, "contentBlockIndex": 0}}
        chunks: Chunks = [delta] if piece.text else []
        if piece.ending is None:
            return chunks
        usage = _usage(self._prompt_tokens, piece.ending.usage.completion_tokens)
        return [
            *chunks,
            {"contentBlockStop": {"contentBlockIndex": 0}},
            {"messageStop": {"stopReason": STOP_REASONS[piece.ending.reason]}},
            {"metadata": {"usage": usage, "metrics": {}, "trace": {}}},
        ]


def _usage(prompt_tokens: int, tokens: int) -> dict[str, int]:
    return {"inputTokens": prompt_tokens, "outputTokens": tokens, "totalTokens": prompt_tokens + tokens}


FORMAT = Nova()
