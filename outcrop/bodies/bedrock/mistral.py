"""Mistral's bodies: a templated prompt, and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from outcrop.bodies.asks import Answer, Ask, Piece, sampled
from outcrop.bodies.bedrock.format import SHORT_REASONS, Chunks, Format, Stream
from outcrop.bodies.body import LEFT_OUT, Body
from outcrop.bodies.replies import Context
from outcrop.core.completions import Sampling

DEFAULTS = Sampling(max_new_tokens=512, temperature=0.5, top_p=0.9, top_k=50)


class MistralBody(Body):
    """Fields and bounds as documented for Mistral 7B Instruct; other models of the house take the same."""

    prompt: str = Field(min_length=1)
    max_tokens: int = Field(default=LEFT_OUT, ge=1, le=8192)
    temperature: float = Field(default=LEFT_OUT, ge=0, le=1)
    top_p: float = Field(default=LEFT_OUT, ge=0, le=1)
    top_k: int = Field(default=LEFT_OUT, ge=0, le=200)
    stop: list[str] = Field(default=LEFT_OUT, max_length=10)


class Mistral(Format):
    """Special tokens in the prompt are taken as such; a prompt without any is asked as the model was trained."""

    defaults = DEFAULTS

    def read(self, body: Mapping[str, Any], defaults: Sampling | None = None) -> Ask:
        fields = MistralBody.read(body)
        sampling = sampled(
            defaults or DEFAULTS,
            max_new_tokens=fields.max_tokens,
            temperature=fields.temperature,
            top_p=fields.top_p,
            top_k=fields.top_k,
            stop_strings=fields.stop,
        )
        return Ask(fields.prompt, sampling)

    def write(self, answers: Sequence[Answer], context: Context) -> dict[str, Any]:
        return {"outputs": [_output(answer.text, SHORT_REASONS[answer.ending.reason]) for answer in answers]}

    def stream(self, context: Context) -> MistralStream:
        return MistralStream()


class MistralStream(Stream):
    """A chunk for every piece."""

    def begin(self) -> Chunks:
        return []

    def piece(self, piece: Piece) -> Chunks:
        return [{"outputs": [_output(piece.text, SHORT_REASONS[piece.ending.reason] if piece.ending else None)]}]


def _output(text: str, reason: str | None) -> dict[str, Any]:
    return {"text": text, "stop_reason": reason}


FORMAT = Mistral()
