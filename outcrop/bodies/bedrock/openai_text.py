"""OpenAICompletion, a format of imported models: OpenAI's completions, answered in Llama's words besides.

Models imported before the format was introduced answered its requests as Llama does, and programs of then read that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outcrop.bodies.asks import Answer, Ask, Piece
from outcrop.bodies.bedrock.format import Chunks, Format, Stream, operation_streams
from outcrop.bodies.bedrock.imported import as_generation
from outcrop.bodies.bedrock.llama import LlamaStream
from outcrop.bodies.openai import completions
from outcrop.bodies.openai.fields import StreamedTokens
from outcrop.bodies.replies import Context
from outcrop.core.completions import Sampling


class OpenAIText(Format):
    """One prompt in a request: lists of prompts belong to OpenAI's own API."""

    defaults = completions.DEFAULTS

    def read(self, body: Mapping[str, Any], defaults: Sampling | None = None) -> Ask:
        fields, ask = completions.read_one(body, defaults or self.defaults)
        operation_streams(fields.stream)
        return ask

    def write(self, answers: Sequence[Answer], context: Context) -> dict[str, Any]:
        legacy = as_generation(answers[0], context) if len(answers) == 1 else {}
        return completions.write(answers, context) | legacy

    def stream(self, context: Context) -> OpenAITextStream:
        return OpenAITextStream(context)


class OpenAITextStream(Stream):
    """OpenAI's chunks, with Llama's fields besides where there is one answer."""

    def __init__(self, context: Context) -> None:
        self._writer, self._head = completions.CompletionWriter(context), completions.head(context)
        self._n, self._legacy = context.ask.n, LlamaStream(context)
        self._tokens = StreamedTokens(context)

    def begin(self) -> Chunks:
        return [self._head | {"choices": echo} for index in range(self._n) if (echo := self._writer.echo(index))]

    def piece(self, piece: Piece) -> Chunks:
        legacy = self._legacy.piece(piece)[0] if self._n == 1 else {}
        chunks = [self._head | {"choices": self._writer.piece(piece)} | legacy]
        counted = self._tokens.after(piece)
        return [*chunks, self._head | {"choices": [], "usage": counted}] if counted else chunks


FORMAT = OpenAIText()
