"""Who answers the requests of a job: the engine of this process, workers on many machines, or vLLM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from outcrop.core.catalog import Catalog
from outcrop.core.events import Listener

if TYPE_CHECKING:  # the command names the runners, and starts without torch
    from outcrop.generation.batch.running import Answered, AnsweringSpec, Pending


class Answering(Protocol):
    """Answers requests, and knows afterwards what it took. seconds: without loading."""

    prefix_tokens: int
    generated_tokens: int
    seconds: float

    def __call__(self, requests: Iterator[Pending]) -> Iterator[list[Answered]]:
        """The answers, in any order, as they are finished."""
        ...


class AnsweringMaker(Protocol):
    """Makes one of them. engine: by whose arithmetic: answers of one engine are never given for those of another."""

    engine: str

    def __call__(self, spec: AnsweringSpec, listener: Listener) -> Answering:
        """Raises MissingDependency where it needs what is not installed."""
        ...


RUNNERS: Catalog[AnsweringMaker] = Catalog(
    "runner",
    {
        "local": "outcrop.generation.batch.running:LocalAnswering",
        "ray": "outcrop.generation.batch.on_ray:RayAnswering",
        "vllm": "outcrop.generation.batch.on_vllm:VllmAnswering",
    },
)
