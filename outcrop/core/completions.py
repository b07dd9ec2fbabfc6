"""Requests for text and likelihoods, and their answers: the one interface of all engines.

Requests carry token ids that `models/rendering.py` made, so that training and serving cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. temperature 0 is greedy; top_k 0 and top_p 1 do not restrict; seed makes it repeatable."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompletionRequest:
    """One prompt, as token ids, and how to continue it."""

    prompt_ids: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Completion:
    """An answer: `text` has no stop string or stop token in it, `token_ids` are all that were generated.

    logprobs: natural log-probability of each generated token under the untempered model.
    seconds: from the start of the request's batch to its last token.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    seconds: float


@dataclass(frozen=True)
class ScoreRequest:
    """One prompt and the candidate continuations whose likelihood is asked for."""

    prompt_ids: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Score:
    """Log-likelihood of one candidate: natural log, summed over its tokens, in fp32."""

    logprob: float
    tokens: int
    token_logprobs: tuple[float, ...]


class Generator(Protocol):
    """What evaluation and distillation need of an engine."""

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        """Answer all requests, in their order."""
        ...

    def stream(self, request: CompletionRequest) -> Iterator[str]:
        """Text deltas of one answer; never a broken character, never part of a stop string."""
        ...

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """Log-likelihoods of every request's candidates, in order."""
        ...
