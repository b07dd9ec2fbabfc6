"""What every engine promises: token ids in, token events out, adapters by digest, health through the real path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from outcrop.core.completions import CompletionRequest, FinishReason, Score, ScoreRequest, TopLogprobs

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class ModelRef:
    """A model by name (a folder, bundled:NAME or hf:ORG/NAME). precision auto: bf16 where a probe finds it faster.

    An adapter folder is served merged into its base.
    """

    name: str
    precision: Precision = "auto"


@dataclass(frozen=True)
class AdapterRef:
    """An adapter folder, and the digest that is its identity in requests and caches."""

    name: str
    digest: str


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer. cached_tokens: those of the prompt that had been computed before."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class TokenEvent:
    """What is new of answer number `index` of a request; the last event has finish_reason and usage.

    text: certain text, whole characters, nothing of a stop string; it may lag behind the tokens.
    """

    index: int
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    top_logprobs: tuple[TopLogprobs, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


Capability = Literal[
    "logprobs", "top_logprobs", "logit_bias", "repetition_penalty", "min_p", "constraint", "mixed_adapters", "score",
    "prefix_cache",
]  # fmt: skip


@dataclass(frozen=True)
class EngineStats:
    """A moment of an engine. cached_tokens: keys and values held for prefixes; token counts run from the start.

    computed_tokens: all that went through the model; prefix_tokens: those that did not have to.
    """

    running: int
    waiting: int
    slots: int
    used_tokens: int
    budget_tokens: int
    cached_tokens: int
    computed_tokens: int
    prefix_tokens: int
    generated_tokens: int
    tokens_per_s: float
    adapters: tuple[str, ...]


@dataclass(frozen=True)
class Health:
    """alive: the loop turned lately; ready: a token was just made on the way that requests take."""

    alive: bool
    ready: bool
    reason: str = ""


class Engine(Protocol):
    """An engine that serves one model to many callers at once. A field that it does not support is refused."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What requests may ask for."""
        ...

    async def load(self, model: ModelRef) -> None:
        """Load and warm up. Raises ModelError."""
        ...

    async def add_adapter(self, adapter: AdapterRef) -> None:
        """Make an adapter usable; again is no error.

        Raises ModelError for one that does not fit the base, has no effect, or is not what its digest says.
        """
        ...

    async def remove_adapter(self, digest: str) -> None:
        """Free an adapter once no request uses it. Raises UsageError for one that is not loaded."""
        ...

    def generate(self, request: CompletionRequest) -> AsyncIterator[TokenEvent]:
        """The events of one request's answers as they are made; closing the iterator cancels it.

        Raises UsageError for a request that cannot be answered, Unavailable when too many wait or it is stopping.
        """
        ...

    async def score(self, request: ScoreRequest) -> list[Score]:
        """Log-likelihoods of a request's candidates, in order. Raises as `generate` does."""
        ...

    async def stats(self) -> EngineStats:
        """What the engine is doing."""
        ...

    async def health(self, deadline_s: float) -> Health:
        """Liveness, and readiness by one token on the way that requests take, within the deadline."""
        ...

    async def drain(self, deadline_s: float) -> bool:
        """Take no more requests and finish those there are; whether all were finished in time."""
        ...

    async def close(self) -> None:
        """Stop, failing what still runs, and free the model."""
        ...
