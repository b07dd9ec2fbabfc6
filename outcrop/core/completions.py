"""Requests for text and likelihoods, and their answers: the one interface of all engines.

Requests carry token ids that `models/rendering.py` made, so that training and serving cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real
from typing import Any, Literal, NamedTuple, Protocol

from outcrop.core.errors import UsageError, did_you_mean

FinishReason = Literal["stop", "length"]
ConstraintKind = Literal["json_schema", "regex", "choice"]
LONGEST_ID = 18
"""Digits of a token id, so that reading it takes no time."""
NUMBERS = {
    "max_new_tokens", "temperature", "top_k", "top_p", "seed", "min_p", "repetition_penalty", "top_logprobs",
}  # fmt: skip
"""Fields of Sampling that hold one."""


@dataclass(frozen=True)
class Constraint:
    """The form of an answer. definition: a JSON schema, a regular expression or a JSON list of texts."""

    kind: ConstraintKind
    definition: str


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 do not restrict; seed makes it
    repeatable.

    min_p: tokens less likely than this share of the likeliest are left out. repetition_penalty: above 1, tokens of
    prompt and answer become less likely (CTRL, arXiv 1909.05858, §4.1). logit_bias: (token id, what is added to its
    logit). top_logprobs: so many of the likeliest tokens are reported at every place.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = ()
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int = 0
    constraint: Constraint | None = None


def sampling_from(fields: Mapping[str, Any]) -> Sampling:
    """Fields of Sampling, also as JSON holds them: lists for tuples, objects for a constraint and for logit biases.

    Raises UsageError for unknown fields, for texts in place of numbers, and for biases of what is no token id.
    """
    for name in fields:
        if name not in Sampling.__dataclass_fields__:
            remedy = did_you_mean(str(name), Sampling.__dataclass_fields__)
            raise UsageError(f"Unknown sampling field: {name}.", remedy)
    given: dict[str, Any] = {name: frozen(value) for name, value in fields.items()}
    if isinstance(given.get("constraint"), Mapping):
        given["constraint"] = Constraint(**given["constraint"])
    if isinstance(given.get("stop_strings"), str):
        given["stop_strings"] = (given["stop_strings"],)
    biases = given.get("logit_bias", ())
    if isinstance(biases, Mapping):
        given["logit_bias"] = biases_from(biases)
    elif not isinstance(biases, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in biases):
        raise UsageError(f"logit_bias is {biases!r}.", "Give a mapping of token ids to numbers.")
    for name in NUMBERS & given.keys():
        if not isinstance(given[name], Real) or isinstance(given[name], bool):
            raise UsageError(f"{name} is {given[name]!r}.", "Allowed: a number.")
    return Sampling(**given)


def biases_from(given: Mapping[Any, float]) -> tuple[tuple[int, float], ...]:
    """Logit biases by token id, as OpenAI's API writes them: {"1234": -100}. Raises UsageError for anything else."""
    for key, bias in given.items():
        if not isinstance(bias, int | float):
            raise UsageError(f"The bias of token {key} is {bias!r}.", "Allowed: a number.", "logit_bias")
    biases = sorted((token_id(key), float(bias)) for key, bias in given.items())
    for (token, _), (following, _) in pairwise(biases):
        if token == following:
            raise UsageError(f"Token {token} has two biases.", "Give it one.", "logit_bias")
    return tuple(biases)


def token_id(given: Any) -> int:
    """A token id that stands for itself or is written in digits. Raises UsageError for anything else."""
    text = str(given)
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_ID):
        raise UsageError(f"{text[:40]!r} is no token id.", "Give ids of the model's vocabulary.", "logit_bias")
    return int(text)


def frozen(value: Any) -> Any:
    """Tuples for lists, at any depth."""
    return tuple(map(frozen, value)) if isinstance(value, list) else value


@dataclass(frozen=True)
class CompletionRequest:
    """One prompt, as token ids, and how to continue it: n times, each with a seed of its own.

    adapter: the digest of a loaded adapter, or None for the model as it is.
    """

    prompt_ids: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    n: int = 1
    adapter: str | None = None


TopLogprobs = tuple[tuple[int, float], ...]
"""The likeliest tokens at one place, likeliest first, with their natural log-probabilities."""


@dataclass(frozen=True)
class Completion:
    """An answer: `text` has no stop string or stop token in it, `token_ids` are all that were generated.

    logprobs: natural log-probability of each generated token under the untempered, unrestricted model.
    seconds: from the request's first computation to its last token. cached_tokens: tokens of the prompt that were
    computed before, for another request. top_logprobs: for each generated token, if they were asked for.
    published: the table of published answers that it was found in, empty for one that was computed.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    seconds: float
    cached_tokens: int = 0
    top_logprobs: tuple[TopLogprobs, ...] = ()
    published: str = ""


@dataclass(frozen=True)
class ScoreRequest:
    """One prompt and the candidate continuations whose likelihood is asked for."""

    prompt_ids: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]
    adapter: str | None = None


@dataclass(frozen=True)
class Score:
    """Log-likelihood of one candidate: natural log, summed over its tokens, in fp32."""

    logprob: float
    tokens: int
    token_logprobs: tuple[float, ...]


class ToldToken(NamedTuple):
    """A token of an answer as an endpoint tells it: its bytes, its natural log-probability, and the likeliest tokens at
    its place, which it may be one of."""

    piece: bytes
    logprob: float
    likeliest: tuple[tuple[bytes, float], ...]


class Generator(Protocol):
    """What evaluation and distillation need of an engine."""

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        """Answer all requests, in their order; a request with n answers takes n places."""
        ...

    def stream(self, request: CompletionRequest) -> Iterator[str]:
        """Text deltas of one answer; never a broken character, never part of a stop string."""
        ...

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """Log-likelihoods of every request's candidates, in order."""
        ...
