"""OpenAIChatCompletion, a format of imported models and of models by Qwen, OpenAI and others: OpenAI's chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outcrop.bodies.asks import Answer, Ask
from outcrop.bodies.bedrock.format import Format, operation_streams
from outcrop.bodies.openai import chat
from outcrop.bodies.replies import Context
from outcrop.core.completions import Sampling


class OpenAIChat(Format):
    """Turns are rendered by the model's chat template."""

    defaults = chat.DEFAULTS

    def read(self, body: Mapping[str, Any], defaults: Sampling | None = None) -> Ask:
        fields, ask = chat.read(body, defaults or self.defaults)
        operation_streams(fields.stream)
        return ask

    def write(self, answers: Sequence[Answer], context: Context) -> dict[str, Any]:
        return chat.write(answers, context)

    def stream(self, context: Context) -> chat.ChatStream:
        return chat.ChatStream(context)


FORMAT = OpenAIChat()
