"""BedrockCompletion, the first format of imported models: Llama's, with a form of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from outcrop.bodies.asks import Answer, Ask, Piece, sampled
from outcrop.bodies.bedrock.format import SHORT_REASONS, Chunks, Format, only
from outcrop.bodies.bedrock.llama import DEFAULTS, LlamaStream, generation
from outcrop.bodies.body import LEFT_OUT, Body
from outcrop.bodies.openai.fields import ResponseFormat, constraint
from outcrop.bodies.replies import Context
from outcrop.core.completions import Sampling


class ImportedBody(Body):
    """Fields as documented for imported models."""

    prompt: str = Field(min_length=1)
    temperature: float = Field(default=LEFT_OUT, ge=0, le=1)
    top_p: float = Field(default=LEFT_OUT, ge=0, le=1)
    top_k: int = Field(default=LEFT_OUT, ge=0)
    max_gen_len: int = Field(default=LEFT_OUT, ge=1)
    stop: list[str] = LEFT_OUT
    response_format: ResponseFormat | None = None


class Imported(Format):
    """Special tokens in the prompt are taken as such; a prompt without any is asked as the model was trained."""

    defaults = DEFAULTS

    def read(self, body: Mapping[str, Any], defaults: Sampling | None = None) -> Ask:
        fields = ImportedBody.read(body)
        sampling = sampled(
            defaults or DEFAULTS,
            max_new_tokens=fields.max_gen_len,
            temperature=fields.temperature,
            top_p=fields.top_p,
            top_k=fields.top_k,
            stop_strings=fields.stop,
            constraint=constraint(fields.response_format, None),
        )
        return Ask(fields.prompt, sampling)

    def write(self, answers: Sequence[Answer], context: Context) -> dict[str, Any]:
        return as_generation(only(answers), context) | {"logprobs": None}

    def stream(self, context: Context) -> ImportedStream:
        return ImportedStream(context)


class ImportedStream(LlamaStream):
    """Llama's chunks with the empty field of this format."""

    def piece(self, piece: Piece) -> Chunks:
        return [chunk | {"logprobs": None} for chunk in super().piece(piece)]


def as_generation(answer: Answer, context: Context) -> dict[str, Any]:
    """A whole answer in Llama's words."""
    return generation(answer.text, context.prompt_tokens, answer.ending.usage.completion_tokens) | {
        "stop_reason": SHORT_REASONS[answer.ending.reason]
    }


FORMAT = Imported()
