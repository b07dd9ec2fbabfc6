"""Bodies of API requests as questions of a batch: read and answered as the server does, but by options of the job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from outcrop.bodies.asks import Answer, Ask, whole
from outcrop.bodies.bedrock.catalog import FORMATS, format_for
from outcrop.bodies.openai import chat, completions
from outcrop.bodies.progress import Progress
from outcrop.bodies.replies import Context
from outcrop.core.completions import Completion
from outcrop.core.engines import Usage
from outcrop.core.errors import UsageError
from outcrop.data.formats.json_text import shortened
from outcrop.data.records import Message
from outcrop.generation.batch.questions import BodyReader, Question, Responder, Written

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
BESIDE = ("modelId", "requestMetadata")
"""Members of Converse that change nothing in a file."""


class Asked(NamedTuple):
    """What a body asks, and how its answers are written."""

    ask: Ask
    write: Callable[[Sequence[Answer], Context], Written]


def body_reader(responder: Responder) -> BodyReader:
    """The reader of a job's bodies."""

    def read(kind: str, body: Mapping[str, Any]) -> Question:
        asked = _read(kind, body, responder)
        if asked.ask.echo:
            raise UsageError("echo is true.", "Leave it out: the prompt is in the row.", "echo")
        sampling = {name: value for name, value in vars(asked.ask.sampling).items() if name != "seed"}
        if asked.ask.seed is not None:
            sampling["seed"] = asked.ask.seed
        return Question(_prompt(asked.ask), sampling, partial(_written, responder, asked), asked.ask.n)

    return read


def _read(kind: str, body: Mapping[str, Any], responder: Responder) -> Asked:
    if kind.startswith("/"):
        return _read_openai(kind, body, responder)
    if kind == "Converse":
        name, body = "nova", {key: value for key, value in body.items() if key not in BESIDE}
    else:
        name = format_for(responder.foundation, body)
    form = FORMATS.load(name)
    return Asked(form.read(body, responder.defaults), form.write)


def _read_openai(url: str, body: Mapping[str, Any], responder: Responder) -> Asked:
    if body.get("stream") is True:
        raise UsageError("stream is true.", "Leave it out: answers are written to a file.", "stream")
    if url == CHAT:
        return Asked(chat.read(body, responder.defaults)[1], chat.write)
    if url == COMPLETIONS:
        return Asked(completions.read_one(body, responder.defaults)[1], completions.write)
    raise UsageError(f"Requests to {shortened(url)} are not answered.", f"Allowed: {CHAT}, {COMPLETIONS}.")


def _prompt(ask: Ask) -> str | tuple[Message, ...]:
    """Raises UsageError for what a batch does not render."""
    if isinstance(ask.prompt, str):
        return ask.prompt
    turns = tuple(part for part in ask.prompt if isinstance(part, Message))
    if not turns:
        raise UsageError("The prompt is token ids.", "Give text.", "prompt")
    if turns[-1].role == "assistant":
        raise UsageError("The last message is the assistant's.", "End with the user's: nothing else is answered.")
    return turns


def _written(responder: Responder, asked: Asked, found: Sequence[Completion], row: str) -> Written:
    renderer, ask = responder.renderer, asked.ask
    sampling = replace(ask.sampling, stop_ids=(*ask.sampling.stop_ids, *renderer.stop_ids))
    answers = whole(
        [
            Progress(sampling, renderer.tokenizer, renderer.endings).whole(
                completion, number, Usage(completion.prompt_tokens, 0, len(completion.token_ids))
            )
            for number, completion in enumerate(found)
        ],
        ask.n,
    )
    # Only how many tokens the prompt had is kept; nothing but an echo needs more.
    prompt_ids = range(found[0].prompt_tokens)
    context = Context(
        responder.model, row, responder.created, ask, prompt_ids, renderer.token_texts, (), renderer.token_bytes
    )
    return asked.write(answers, context)
