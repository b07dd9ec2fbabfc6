"""From a question to the pieces of its answers: rendered as training rendered, computed in turn, told in one way."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

from outcrop.bodies.asks import Ask, Piece
from outcrop.bodies.progress import Progress
from outcrop.core.completions import Completion, CompletionRequest, Sampling, ScoreRequest
from outcrop.core.engines import Usage
from outcrop.models.asking import Question, conversation_question, prompt_question
from outcrop.models.folder import ModelFolder
from outcrop.models.rendering import Renderer
from outcrop.service.inference.pool import Model

LONG_TEXT = 20_000
"""Characters from which on rendering leaves the event loop to others."""


class Seat(NamedTuple):
    """Who asks, for turns that are shared fairly; and the reservation that it asks by, if any."""

    caller: str
    reservation: str = ""


class Prepared(NamedTuple):
    """A question as the engine gets it. answers: white space before the text is the rendering's."""

    request: CompletionRequest
    answers: bool


async def rendered(renderer: Renderer, folder: ModelFolder, ask: Ask) -> Question:
    """The token ids of a question. Raises DataError for special tokens where none may stand."""
    prompt = ask.prompt
    if not isinstance(prompt, str) and isinstance(prompt[0], int):
        return Question(tuple(token for token in prompt if isinstance(token, int)), answers=False)
    if _length(ask) < LONG_TEXT:
        return _question(renderer, folder, ask)
    return await asyncio.to_thread(_question, renderer, folder, ask)


async def prepare(model: Model, ask: Ask) -> Prepared:
    """The engine's request for a question. Raises DataError as `rendered` does."""
    question = await rendered(model.renderer, model.folder, ask)
    seed = secrets.randbits(62) if ask.seed is None else ask.seed
    sampling = replace(ask.sampling, stop_ids=model.renderer.stop_ids, seed=seed)
    return Prepared(CompletionRequest(question.prompt_ids, sampling, ask.n, model.adapter), question.answers)


async def pieces(model: Model, prepared: Prepared, seat: Seat) -> AsyncGenerator[Piece, None]:
    """The pieces of all answers as they are made; closing the iterator frees the engine from them.

    Raises UsageError for sampling and prompts that the model cannot take, Unavailable where too many wait.
    """
    sampling = prepared.request.sampling
    renderer, n = model.renderer, prepared.request.n
    progress = [Progress(sampling, renderer.tokenizer, renderer.endings, prepared.answers) for _ in range(n)]
    async with model.loaded.gate.turn(seat.caller, seat.reservation):
        events = model.loaded.engine.generate(prepared.request)
        async with aclosing(events):  # type: ignore[type-var]  # engines give generators
            async for event in events:
                yield progress[event.index].piece(event)


def published_piece(renderer: Renderer, question: Question, sampling: Sampling, found: Completion) -> Piece:
    """An answer that was published, as the one piece of an answer."""
    usage = Usage(len(question.prompt_ids), len(question.prompt_ids), len(found.token_ids))
    sampling = replace(sampling, stop_ids=renderer.stop_ids)
    return Progress(sampling, renderer.tokenizer, renderer.endings, question.answers).whole(found, 0, usage)


async def prompt_logprobs(model: Model, ids: tuple[int, ...], seat: Seat) -> tuple[float, ...]:
    """The log-probabilities of a prompt's tokens but the first, each after those before it."""
    if len(ids) < 2:
        return ()
    async with model.loaded.gate.turn(seat.caller, seat.reservation):
        [score] = await model.loaded.engine.score(ScoreRequest(ids[:1], (ids[1:],), model.adapter))
    return score.token_logprobs


def _question(renderer: Renderer, folder: ModelFolder, ask: Ask) -> Question:
    if isinstance(ask.prompt, str):
        return prompt_question(renderer, folder, ask.prompt)
    messages = [turn for turn in ask.prompt if not isinstance(turn, int)]
    return conversation_question(renderer, folder, messages)


def _length(ask: Ask) -> int:
    if isinstance(ask.prompt, str):
        return len(ask.prompt)
    return sum(len(turn.content) for turn in ask.prompt if not isinstance(turn, int))
