"""OpenAICompletion, a format of imported models: OpenAI's completions, answered in Llama's words besides.

Models imported before the format was introduced answered its requests as Llama does, and programs of then read that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outcrop.core.completions import Sampling
from outcrop.core.errors import UsageError
from outcrop.service.bedrock.runtime.formats.format import Chunks, Format, Stream, operation_streams
from outcrop.service.bedrock.runtime.formats.imported import as_generation
from outcrop.service.bedrock.runtime.formats.llama import LlamaStream
from outcrop.service.inference.asks import Answer, Ask, Piece, total
from outcrop.service.inference.replies import Context
from outcrop.service.openai import completions
from outcrop.service.openai.fields import StreamedTokens, usage


class OpenAIText(Format):
    """One prompt in a request: lists of prompts belong to OpenAI's own API."""

    defaults = Sampling(max_new_tokens=completions.DEFAULT_TOKENS, temperature=1.0)

    def read(self, body: Mapping[str, Any]) -> Ask:
        fields, asks = completions.read(body)
        operation_streams(fields.stream)
        if len(asks) != 1 or fields.max_tokens == 0:
            raise UsageError("A request has one prompt and an answer.", "Send a request for each prompt.", "prompt")
        return asks[0]

    def write(self, answers: Sequence[Answer], context: Context) -> dict[str, Any]:
        tokens = total(answers)
        legacy = as_generation(answers[0], context) if len(answers) == 1 else {}
        return completions.head(context) | {
            "choices": completions.CompletionWriter(context).whole(answers),
            "usage": usage(tokens.prompt_tokens, tokens.cached_tokens, tokens.completion_tokens),
            **legacy,
        }

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
