"""Llama's bodies: a prompt that the caller has put through the chat template, and a generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from outcrop.bodies.asks import Answer, Ask, Piece, sampled
from outcrop.bodies.bedrock.format import SHORT_REASONS, Chunks, Format, Stream, only
from outcrop.bodies.body import LEFT_OUT, Body
from outcrop.bodies.replies import Context
from outcrop.core.completions import Sampling

DEFAULTS = Sampling(max_new_tokens=512, temperature=0.5, top_p=0.9)


class LlamaBody(Body):
    """Fields and bounds as documented for Meta's models."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {"images": ([],)}

    prompt: str = Field(min_length=1)
    temperature: float = Field(default=LEFT_OUT, ge=0, le=1)
    top_p: float = Field(default=LEFT_OUT, ge=0, le=1)
    max_gen_len: int = Field(default=LEFT_OUT, ge=1, le=2048)


class Llama(Format):
    """Special tokens in the prompt are taken as such; a prompt without any is asked as the model was trained."""

    defaults = DEFAULTS

    def read(self, body: Mapping[str, Any], defaults: Sampling | None = None) -> Ask:
        fields = LlamaBody.read(body)
        sampling = sampled(
            defaults or DEFAULTS,
            max_new_tokens=fields.max_gen_len,
            temperature=fields.temperature,
            top_p=fields.top_p,
        )
        return Ask(fields.prompt, sampling)

    def write(self, answers: Sequence[Answer], context: Context) -> dict[str, Any]:
        answer = only(answers)
        return generation(answer.text, context.prompt_tokens, answer.ending.usage.completion_tokens) | {
            "stop_reason": SHORT_REASONS[answer.ending.reason]
        }

    def stream(self, context: Context) -> LlamaStream:
        return LlamaStream(context)


class LlamaStream(Stream):
    """A chunk for every piece; the first tells how long the prompt was."""

    def __init__(self, context: Context) -> None:
        self._prompt_tokens: int | None = context.prompt_tokens
        self._generated = 0

    def begin(self) -> Chunks:
        return []

    def piece(self, piece: Piece) -> Chunks:
        self._generated += len(piece.token_ids)
        if piece.ending:
            self._generated = piece.ending.usage.completion_tokens
        chunk = generation(piece.text, self._prompt_tokens, self._generated)
        self._prompt_tokens = None
        reason = SHORT_REASONS[piece.ending.reason] if piece.ending else None
        return [chunk | {"stop_reason": reason}]


def generation(text: str, prompt_tokens: int | None, tokens: int) -> dict[str, Any]:
    """What whole answers and chunks have in common."""
    return {"generation": text, "prompt_token_count": prompt_tokens, "generation_token_count": tokens}


FORMAT = Llama()
