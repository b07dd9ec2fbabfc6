"""BedrockCompletion, the first format of imported models: Llama's, with a form of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from outcrop.core.completions import Sampling
from outcrop.service.bedrock.runtime.formats.format import SHORT_REASONS, Chunks, Format, nucleus, only
from outcrop.service.bedrock.runtime.formats.llama import DEFAULTS, LlamaStream, generation
from outcrop.service.inference.asks import Answer, Ask, Piece
from outcrop.service.inference.bodies import Body
from outcrop.service.inference.replies import Context
from outcrop.service.openai.fields import ResponseFormat, constraint


class ImportedBody(Body):
    """Fields as documented for imported models."""

    prompt: str = Field(min_length=1)
    temperature: float = Field(default=DEFAULTS.temperature, ge=0, le=1)
    top_p: float = Field(default=DEFAULTS.top_p, ge=0, le=1)
    top_k: int = Field(default=0, ge=0)
    max_gen_len: int = Field(default=DEFAULTS.max_new_tokens, ge=1)
    stop: list[str] = Field(default_factory=list)
    response_format: ResponseFormat | None = None


class Imported(Format):
    """Special tokens in the prompt are taken as such; a prompt without any is asked as the model was trained."""

    defaults = DEFAULTS

    def read(self, body: Mapping[str, Any]) -> Ask:
        fields = ImportedBody.read(body)
        sampling = Sampling(
            fields.max_gen_len,
            fields.temperature,
            stop_strings=tuple(fields.stop),
            constraint=constraint(fields.response_format, None),
            **nucleus(fields.top_p, fields.top_k),
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
