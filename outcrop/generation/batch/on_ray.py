"""Requests answered on many machines: Ray Data maps blocks of them over workers that each hold the model.

The model's name has to lead to the same weights on every machine, and what comes back is kept here, block by block.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from outcrop.core import settings as environment
from outcrop.core.errors import ModelError
from outcrop.core.events import Listener
from outcrop.core.ray_session import check_ray, ray_session
from outcrop.generation.batch.questions import Refusal
from outcrop.generation.batch.requests import answer_text, asked_text, outcome_from, packed, request_from
from outcrop.generation.batch.running import Answered, AnsweringSpec, Pending, RequestStream
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from outcrop.generation.serving import open_engine
from outcrop.models.folder import find_model

BLOCK_REQUESTS = 256
"""What a worker is given at once, and what is lost of its work where it is killed."""


class RayAnswering:
    """Answers requests by a Ray that is running, that RAY_ADDRESS names, or that is started on this machine.

    workers: 0 for as many as there are machines; each has its share of the processors, or a GPU where there are any.
    """

    engine = "embedded"

    def __init__(self, spec: AnsweringSpec, listener: Listener) -> None:
        """Raises MissingDependency where Ray is not installed."""
        check_ray("The runner ray")
        self._spec, self._listener = spec, listener
        self.prefix_tokens = self.generated_tokens = 0
        self.seconds = 0.0

    def __call__(self, requests: Iterator[Pending]) -> Iterator[list[Answered]]:
        """The answers, those of one block together."""
        self._listener({"event": "stage", "title": "Starting Ray"})
        with ray_session(max(environment.threads(), self._spec.workers)):
            yield from self._answers(requests)

    def _answers(self, requests: Iterator[Pending]) -> Iterator[list[Answered]]:
        import ray.data

        share = self._share(ray.cluster_resources(), len(ray.nodes()))
        rows = [
            {"key": key, "tokens": packed(request.prompt_ids), "asked": asked_text(request)}
            for key, request in requests
        ]
        blocks = max(share.workers, -(-len(rows) // BLOCK_REQUESTS))
        self._listener({"event": "stage", "title": f"Answering on {share.workers} workers"})
        began = time.monotonic()
        results = ray.data.from_items(rows, override_num_blocks=min(blocks, len(rows))).map_batches(
            Worker,
            fn_constructor_args=(self._spec, share.processors),
            compute=ray.data.ActorPoolStrategy(size=share.workers),
            batch_size=None,
            num_cpus=share.processors,
            num_gpus=share.gpus,
        )
        for batch in results.iter_batches(batch_size=None, prefetch_batches=0):
            done = answered(batch)
            outcomes = [outcome for _, outcome in done if not isinstance(outcome, Refusal)]
            self.generated_tokens += sum(len(each.token_ids) for outcome in outcomes for each in outcome)
            self.seconds = time.monotonic() - began
            yield done

    def _share(self, resources: Mapping[str, float], machines: int) -> Share:
        workers = self._spec.workers or machines
        gpus = 1 if resources.get("GPU", 0) >= workers else 0
        return Share(workers, max(1, int(resources.get("CPU", 1)) // workers), gpus)


class Share(NamedTuple):
    """How many workers there are, and the processors and GPUs of each."""

    workers: int
    processors: int
    gpus: int


class Worker:
    """Holds the model on one machine. A model that cannot be used there comes back as the answer to every block, so
    that it arrives as the error that it is."""

    def __init__(self, spec: AnsweringSpec, threads: int) -> None:
        self._failure: ModelError | None = None
        try:
            self._engine = self._open(spec, threads)
        except ModelError as error:
            self._failure = error

    def _open(self, spec: AnsweringSpec, threads: int) -> EmbeddedEngine:
        """Raises ModelError where the model's name leads nowhere on this machine, or to other weights."""
        torch.set_num_threads(threads)
        found = find_model(spec.model.name).digest()
        if found != spec.digest:
            message = f"On this machine the model's digest is {found}, not {spec.digest}."
            raise ModelError(message, "Have its name lead to the same files on every machine.", spec.model.name)
        return open_engine(spec.model, Capacity(batch_tokens=spec.batch_tokens))

    def __call__(self, block: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The answers to a block of requests."""
        if self._failure is not None:
            return {"key": [b""], "answer": [json.dumps(self._failure.as_dict())]}
        rows = zip(block["key"], block["tokens"], block["asked"], strict=True)
        pending = (Pending(bytes(key), request_from(bytes(tokens), str(asked))) for key, tokens, asked in rows)
        done = [each for part in RequestStream(self._engine).answers(pending) for each in part]
        return {"key": [each.key for each in done], "answer": [answer_text(each.outcome) for each in done]}


def answered(batch: Mapping[str, Sequence[Any]]) -> list[Answered]:
    """A block as a worker sent it. Raises ModelError where it could not use the model."""
    done = []
    for key, text in zip(batch["key"], batch["answer"], strict=True):
        if not key:
            error = json.loads(str(text))
            raise ModelError(error["message"], error.get("remedy", ""), error.get("where", ""))
        done.append(Answered(bytes(key), outcome_from(str(text))))
    return done
