"""Mistral's bodies: a templated prompt, and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from outcrop.core.completions import Sampling
from outcrop.service.bedrock.runtime.formats.format import SHORT_REASONS, Chunks, Format, Stream, nucleus
from outcrop.service.inference.asks import Answer, Ask, Piece
from outcrop.service.inference.bodies import Body
from outcrop.service.inference.replies import Context

DEFAULTS = Sampling(max_new_tokens=512, temperature=0.5, top_p=0.9, top_k=50)


class MistralBody(Body):
    """Fields and bounds as documented for Mistral 7B Instruct; other models of the house take the same."""

    prompt: str = Field(min_length=1)
    max_tokens: int = Field(default=DEFAULTS.max_new_tokens, ge=1, le=8192)
    temperature: float = Field(default=DEFAULTS.temperature, ge=0, le=1)
    top_p: float = Field(default=DEFAULTS.top_p, ge=0, le=1)
    top_k: int = Field(default=DEFAULTS.top_k, ge=0, le=200)
    stop: list[str] = Field(default=[], max_length=10)


class Mistral(Format):
    """Special tokens in the prompt are taken as such; a prompt without any is asked as the model was trained."""

    defaults = DEFAULTS

    def read(self, body: Mapping[str, Any]) -> Ask:
        fields = MistralBody.read(body)
        sampling = Sampling(
            fields.max_tokens,
            fields.temperature,
            stop_strings=tuple(fields.stop),
            **nucleus(fields.top_p, fields.top_k),
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
