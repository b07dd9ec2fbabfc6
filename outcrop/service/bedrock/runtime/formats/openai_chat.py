"""OpenAIChatCompletion, a format of imported models and of models by Qwen, OpenAI and others: OpenAI's chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outcrop.core.completions import Sampling
from outcrop.service.bedrock.runtime.formats.format import Format, operation_streams
from outcrop.service.inference.asks import WHOLE_CONTEXT, Answer, Ask
from outcrop.service.inference.replies import Context
from outcrop.service.openai import chat


class OpenAIChat(Format):
    """Turns are rendered by the model's chat template."""

    defaults = Sampling(max_new_tokens=WHOLE_CONTEXT, temperature=1.0)

    def read(self, body: Mapping[str, Any]) -> Ask:
        fields, ask = chat.read(body)
        operation_streams(fields.stream)
        return ask

    def write(self, answers: Sequence[Answer], context: Context) -> dict[str, Any]:
        return chat.write(answers, context)

    def stream(self, context: Context) -> chat.ChatStream:
        return chat.ChatStream(context)


FORMAT = OpenAIChat()
