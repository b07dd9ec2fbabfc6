"""Titan Text's bodies: an input text with a generation configuration, and results with token counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from outcrop.bodies.asks import Answer, Ask, EndReason, Piece, sampled
from outcrop.bodies.bedrock.format import Chunks, Format, Stream, only
from outcrop.bodies.body import LEFT_OUT, Body
from outcrop.bodies.replies import Context
from outcrop.core.completions import Sampling

DEFAULTS = Sampling(max_new_tokens=512, temperature=0.7, top_p=0.9)
REASONS: dict[EndReason, str] = {
    "stop": "FINISH", "stop_string": "STOP_CRITERIA_MET", "length": "LENGTH", "context": "LENGTH",
}  # fmt: skip


class TextGenerationConfig(Body):
    """Fields and bounds as documented for Titan Text."""

    temperature: float = Field(default=LEFT_OUT, ge=0, le=1)
    topP: float = Field(default=LEFT_OUT, ge=0, le=1)
    maxTokenCount: int = Field(default=LEFT_OUT, ge=1, le=8192)
    stopSequences: list[str] = LEFT_OUT


class TitanBody(Body):
    """The text to continue, and how."""

    inputText: str = Field(min_length=1)
    textGenerationConfig: TextGenerationConfig = Field(default_factory=TextGenerationConfig)


class Titan(Format):
    """The text is asked as the model was trained on prompts."""

    defaults = DEFAULTS

    def read(self, body: Mapping[str, Any], defaults: Sampling | None = None) -> Ask:
        fields = TitanBody.read(body)
        config = fields.textGenerationConfig
        sampling = sampled(
            defaults or DEFAULTS,
            max_new_tokens=config.maxTokenCount,
            temperature=config.temperature,
            top_p=config.topP,
            stop_strings=config.stopSequences,
        )
        return Ask(fields.inputText, sampling)

    def write(self, answers: Sequence[Answer], context: Context) -> dict[str, Any]:
        answer = only(answers)
        reason = REASONS[answer.ending.reason]
        result = {
            "tokenCount": answer.ending.usage.completion_tokens,
            "outputText": answer.text,
            "completionReason": reason,
        }
        return {"inputTextTokenCount": context.prompt_tokens, "results": [result]}

    def stream(self, context: Context) -> TitanStream:
        return TitanStream(context)


class TitanStream(Stream):
    """A chunk for every piece, with the tokens so far."""

    def __init__(self, context: Context) -> None:
        self._prompt_tokens, self._generated = context.prompt_tokens, 0

    def begin(self) -> Chunks:
        return []

    def piece(self, piece: Piece) -> Chunks:
        self._generated += len(piece.token_ids)
        if piece.ending:
            self._generated = piece.ending.usage.completion_tokens
        return [
            {
                "outputText": piece.text,
                "index": 0,
                "totalOutputTextTokenCount": self._generated,
                "completionReason": REASONS[piece.ending.reason] if piece.ending else None,
                "inputTextTokenCount": self._prompt_tokens,
            }
        ]


FORMAT = Titan()
