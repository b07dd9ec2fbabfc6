"""Completions: prompts as text or token ids in, continuations out, with echo and log-probabilities. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar

from pydantic import Field

from outcrop.bodies.asks import Answer, Ask, Piece, total
from outcrop.bodies.openai.fields import Sampled, finish_reason, usage
from outcrop.bodies.replies import Context
from outcrop.core.completions import Sampling
from outcrop.core.errors import UsageError

DEFAULTS = Sampling(max_new_tokens=16, temperature=1.0)
MOST_PROMPTS = 2048
LEAST_LOGPROB = -9999.0
"""Of what the model cannot write, as OpenAI has it: JSON knows no infinity."""


class CompletionBody(Sampled):
    """Fields of a completion."""

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {**Sampled.unsupported, "suffix": ("",), "best_of": ()}

    prompt: str | list[str] | list[int] | list[list[int]] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=0)
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool | None = None


def read(body: Mapping[str, Any], defaults: Sampling = DEFAULTS) -> tuple[CompletionBody, list[Ask]]:
    """The requests in a body, one for each prompt. Raises UsageError with every problem.

    best_of may only say what n says. A max_tokens of 0 asks for no new text, which only makes sense with echo.
    """
    given = dict(body)
    if given.get("best_of") == given.get("n", 1):
        given.pop("best_of", None)
    fields = CompletionBody.read(given)
    prompts = _prompts(fields.prompt)
    if fields.max_tokens == 0 and not fields.echo:
        raise UsageError("max_tokens is 0.", "Allowed: at least 1, or 0 together with echo.", "max_tokens")
    sampling = fields.sampling(defaults, fields.max_tokens, fields.logprobs)
    shown = {"logprobs": fields.logprobs is not None, "echo": bool(fields.echo), **fields.manner()}
    return fields, [Ask(prompt, sampling, **shown) for prompt in prompts]


def read_one(body: Mapping[str, Any], defaults: Sampling = DEFAULTS) -> tuple[CompletionBody, Ask]:
    """The request in a body that may hold one only. Raises UsageError with every problem."""
    fields, asks = read(body, defaults)
    if len(asks) != 1 or fields.max_tokens == 0:
        raise UsageError("A request has one prompt and an answer.", "Send a request for each prompt.", "prompt")
    return fields, asks[0]


class CompletionWriter:
    """Choices of answers to one prompt. first: the number of its first choice among those of all prompts."""

    def __init__(self, context: Context, first: int = 0) -> None:
        self._context, self._first = context, first
        self._echo, self._logprobs = context.ask.echo, context.ask.logprobs
        self._offsets: dict[int, int] = {}

    def whole(self, answers: Sequence[Answer]) -> list[dict[str, Any]]:
        """The choices of whole answers."""
        choices = []
        for index, answer in enumerate(answers):
            piece = Piece(index, answer.text, answer.token_ids, answer.logprobs, answer.top_logprobs, answer.ending)
            choices.append(self._joined([*self.echo(index), self._choice(piece)]))
        return choices

    def prompt_alone(self, n: int) -> list[dict[str, Any]]:
        """The choices where no new text was asked for."""
        return [self.echo(index)[0] | {"finish_reason": "length"} for index in range(n)]

    def echo(self, index: int) -> list[dict[str, Any]]:
        """The prompt as a choice, where it is to be repeated."""
        if not self._echo:
            return []
        ids = self._context.prompt_ids
        text = "".join(self._context.token_texts(ids))
        known = (max(logprob, LEAST_LOGPROB) for logprob in self._context.prompt_logprobs)
        logprobs: tuple[float | None, ...] = (None, *known)
        return [self._made(index, text, ids, logprobs, [None] * len(ids), None)]

    def piece(self, piece: Piece) -> list[dict[str, Any]]:
        """The choice of a chunk."""
        return [self._choice(piece)]

    def _choice(self, piece: Piece) -> dict[str, Any]:
        tops = [
            {self._context.token_texts([token])[0]: logprob for token, logprob in reversed(top)}  # the likeliest counts
            for top in piece.top_logprobs or [()] * len(piece.token_ids)
        ]
        reason = finish_reason(piece.ending.reason) if piece.ending else None
        return self._made(piece.number, piece.text, piece.token_ids, piece.logprobs, tops, reason)

    def _made(
        self, index: int, text: str, ids: Sequence[int], logprobs: Sequence[float | None], tops: Sequence[Any],
        reason: str | None,
    ) -> dict[str, Any]:  # fmt: skip
        found = None
        if self._logprobs:
            texts = self._context.token_texts(ids)
            *offsets, end = accumulate(map(len, texts), initial=self._offsets.get(index, 0))
            self._offsets[index] = end
            found = {
                "tokens": texts,
                "token_logprobs": list(logprobs),
                "top_logprobs": list(tops),
                "text_offset": offsets,
            }
        return {"index": self._first + index, "text": text, "logprobs": found, "finish_reason": reason}

    def _joined(self, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """An echo and an answer as one choice."""
        last = parts[-1]
        logprobs = last["logprobs"] and {
            name: [value for part in parts for value in part["logprobs"][name]] for name in last["logprobs"]
        }
        return last | {"text": "".join(part["text"] for part in parts), "logprobs": logprobs}


def head(context: Context) -> dict[str, Any]:
    """What whole answers and chunks have in common."""
    return {
        "id": f"cmpl-{context.request_id}",
        "object": "text_completion",
        "created": context.created,
        "model": context.model_id,
    }


def write(answers: Sequence[Answer], context: Context) -> dict[str, Any]:
    """The body of the answers to one prompt."""
    tokens = total(answers)
    return head(context) | {
        "choices": CompletionWriter(context).whole(answers),
        "usage": usage(tokens.prompt_tokens, tokens.cached_tokens, tokens.completion_tokens),
    }


def _prompts(given: str | list[str] | list[int] | list[list[int]]) -> list[str | tuple[int, ...]]:
    if isinstance(given, str):
        prompts: list[str | tuple[int, ...]] = [given]
    elif all(isinstance(part, int) for part in given):
        prompts = [tuple(given)]  # type: ignore[arg-type]
    else:
        prompts = [part if isinstance(part, str) else tuple(part) for part in given]  # type: ignore[arg-type]
    if len(prompts) > MOST_PROMPTS:
        raise UsageError(f"{len(prompts)} prompts.", f"Allowed: at most {MOST_PROMPTS} in a request.", "prompt")
    if not all(prompts):
        raise UsageError("A prompt is empty.", "Give text or token ids.", "prompt")
    return prompts
