"""The engine inside this process: any transformers causal language model, in memory, on its own device and dtype."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from outcrop.core.completions import Completion, CompletionRequest, Sampling, Score, ScoreRequest
from outcrop.core.engines import AdapterRef
from outcrop.core.errors import ModelError, UsageError, did_you_mean
from outcrop.core.seeds import derive
from outcrop.generation.adapters import Factors
from outcrop.generation.answers import Answer, Task
from outcrop.generation.choosing import likeliest, weigh
from outcrop.generation.constraints import Constraints
from outcrop.generation.limits import Limits
from outcrop.generation.sampling import Chooser, check_sampling
from outcrop.generation.scheduling import Capacity, Scheduler
from outcrop.generation.scoring import Scoring, check_scoring
from outcrop.generation.stopping import NO_ENDINGS, Endings
from outcrop.generation.trunk import Among, has_effect, open_trunk
from outcrop.models.folder import find_model
from outcrop.models.lora import layer_sizes, read_adapter


class EmbeddedEngine:
    """Continuous batching over a cache of slots; implements core.completions.Generator, for any number of threads.

    In fp32 an answer does not depend on the batch that it was computed in. Models of the Llama family are computed
    from copies of their weights as they are now; the model itself is left as it was.
    """

    def __init__(
        self, model: Any, tokenizer: Any, capacity: Capacity | None = None, *, base_digest: str | None = None,
        closing: Iterable[int] = (), endings: Endings = NO_ENDINGS,
    ) -> None:  # fmt: skip
        """base_digest: of the model's folder, for adapters that name the base they belong to; closing: tokens of
        which an answer is one, and ends with it; others do not follow a prompt then; endings: stop ids that add text
        themselves, as the tokens of it.

        Raises ModelError for a model that cannot be computed exactly, UsageError for no capacity.
        """
        capacity = capacity or Capacity()
        for name in ("slots", "batch_tokens", "chunk_tokens"):
            if getattr(capacity, name) < 1:
                raise UsageError(f"{name} is {getattr(capacity, name)}.", "Allowed: at least 1.")
        self._tokenizer, self._base_digest, self._closing = tokenizer, base_digest, frozenset(closing)
        self._limits, self._layers = Limits.of(model), layer_sizes(model)
        self.trunk = open_trunk(model)
        if self._closing:
            self.trunk = Among(self.trunk, self._closing, self._limits.vocabulary)
        self._endings = endings
        self._constraints = Constraints(tokenizer, self._limits.vocabulary, endings)
        self.scheduler = Scheduler(self.trunk, capacity, self._limits.vocabulary)
        self._lock = threading.Lock()

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        """Answer all requests, in their order; a request with n answers takes n places.

        Raises UsageError, before anything is computed, for sampling values out of bounds, adapters that are not
        loaded, and prompts that are empty, not in the vocabulary or leave no room in the model's context.
        """
        answers = [
            answer
            for number, request in enumerate(requests)
            for answer in self.answers(request, f"completion request {number}")
        ]
        self._run(answers)
        return [answer.completion() for answer in answers]

    def stream(self, request: CompletionRequest) -> Iterator[str]:
        """Text deltas of one answer; joined they are the text of `complete`. Raises as `complete` does, at once."""
        if request.n != 1:
            raise UsageError(f"n is {request.n}.", "A stream has one answer; ask for n = 1.")
        return self._deltas(*self.answers(request, "completion request", live=True))

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """Log-likelihoods of every request's candidates, in order; prompts and shared beginnings are computed once.

        Raises UsageError, before anything is computed, for prompts and candidates that are empty, not in the
        vocabulary or longer than the model's context, and adapters that are not loaded.
        """
        tasks = [self.scoring(request, f"score request {number}") for number, request in enumerate(requests)]
        self._run(tasks)
        return [task.scores() for task in tasks]

    def likeliest(self, requests: Sequence[ScoreRequest]) -> list[int]:
        """The index of each request's likeliest candidate, the first of equals, for less than `score` takes.

        Raises as `score` does.
        """
        return likeliest(self.score, requests)

    def weigh(
        self, requests: Sequence[ScoreRequest], kept: float, temperature: float = 1.0
    ) -> list[NDArray[np.float64]]:
        """The log-likelihoods of every request's candidates, as generation.choosing.weigh estimates them.

        Raises as `score` does.
        """
        return weigh(self.score, requests, kept, temperature)

    def add_adapter(self, adapter: AdapterRef) -> None:
        """Make an adapter usable in requests, by its digest; again is no error.

        Raises ModelError for one that does not fit the base, has no effect, or is not what its digest says.
        """
        if adapter.digest in self.scheduler.adapters:
            return
        folder = find_model(adapter.name)
        found = folder.digest()
        if folder.base is None:
            raise ModelError("The folder is a whole model, not an adapter.", "Load it as a model.", adapter.name)
        if found != adapter.digest:
            raise ModelError(f"The adapter's digest is {found}, not {adapter.digest}.", "Name it anew.", adapter.name)
        if self._base_digest is not None and folder.base.digest() != self._base_digest:
            raise ModelError(
                f"The adapter belongs to another base model: {folder.base.name}.", "Load it on its own.", adapter.name
            )
        shape, weights = read_adapter(folder, self._layers)
        cache = self.trunk.cache_shape
        factors = {  # copies: the file may be changed while the adapter is in use
            name: Factors(
                A.to(cache.device, cache.dtype, copy=True), (shape.scale * B.float()).to(cache.device, cache.dtype)
            )
            for name, (A, B) in weights.items()
        }
        sites = self.trunk.sites(factors)
        if not has_effect(self.trunk, sites):
            raise ModelError("The adapter changes nothing: its output is that of the base.", "Tune it.", adapter.name)
        with self._lock:
            self.scheduler.adapters.add(adapter.digest, sites)

    def remove_adapter(self, digest: str) -> None:
        """Free an adapter and what was computed with it, once no request uses it.

        Raises UsageError for one that is not loaded.
        """
        self._check_adapter(digest, "remove_adapter")
        self._advance(lambda: not self.scheduler.uses(digest))
        with self._lock:
            self.scheduler.adapters.remove(digest)
            self.scheduler.prefixes.forget(digest)

    def forget_prompts(self) -> None:
        """Drop what was computed for earlier prompts, so that the next request shows its whole cost."""
        with self._lock:
            self.scheduler.prefixes.clear()

    def answers(self, request: CompletionRequest, where: str, *, live: bool = False) -> list[Answer]:
        """The tasks of a request, checked; raises as `complete` does."""
        sampling = request.sampling
        check_sampling(sampling, self._limits.vocabulary, where)
        self._limits.check(request.prompt_ids, 1, where)
        self._check_adapter(request.adapter, where)
        if request.n < 1:
            raise UsageError(f"n is {request.n}.", "Allowed: at least 1.", where)
        room = self._limits.room(len(request.prompt_ids), sampling.max_new_tokens)
        choosers = [self._chooser(request, number, where) for number in range(request.n)]
        return [
            Answer(request, chooser, self._tokenizer, room, live=live, closing=self._closing, endings=self._endings)
            for chooser in choosers
        ]

    def scoring(self, request: ScoreRequest, where: str) -> Scoring:
        """The task of a request, checked; raises as `score` does."""
        check_scoring(request, self._limits, where)
        self._check_adapter(request.adapter, where)
        return Scoring(request, self.scheduler.slots.shape.device)

    def step(self) -> None:
        """Advance all that was submitted to the scheduler."""
        with self._lock, torch.inference_mode():
            self.scheduler.step()

    def _chooser(self, request: CompletionRequest, number: int, where: str) -> Chooser:
        sampling: Sampling = request.sampling
        if number:
            sampling = replace(sampling, seed=derive(sampling.seed, "answer", number))
        if sampling.constraint is not None and self._closing:
            wrong = "The model answers with one of its labels, which are a token each, and with nothing in a form."
            raise UsageError(wrong, "Leave the form out.", where)
        grammar = self._constraints.grammar(sampling.constraint, sampling.stop_ids, where)
        return Chooser(sampling, request.prompt_ids, grammar)

    def _check_adapter(self, digest: str | None, where: str) -> None:
        known = self.scheduler.adapters.digests
        if digest is not None and digest not in known:
            remedy = did_you_mean(digest, known) if known else "None is loaded; add it first."
            raise UsageError(f"The adapter {digest} is not loaded.", remedy, where)

    def _run(self, tasks: Sequence[Task]) -> None:
        """Neighbours in the order of their tokens share the most."""
        for task in sorted(tasks, key=lambda task: task.prompt_ids):
            self.scheduler.submit(task)
        try:
            for task in tasks:
                self._advance(partial(getattr, task, "finished"))
                if task.error is not None:
                    raise task.error
        finally:
            self._end(tasks)

    def _end(self, tasks: Sequence[Task]) -> None:
        """Free what unfinished tasks hold."""
        for task in tasks:
            task.cancelled = True
        with self._lock, torch.inference_mode():
            self.scheduler.drop_cancelled()

    def _advance(self, enough: Callable[[], bool]) -> None:
        """Step until `enough`, taking turns with other threads."""
        while not enough():
            with self._lock, torch.inference_mode():
                if not enough():
                    self.scheduler.step()

    def _deltas(self, answer: Answer) -> Iterator[str]:
        self.scheduler.submit(answer)
        try:
            while not answer.finished:
                self._advance(lambda: answer.finished or answer.has_news)
                text = answer.event(0).text
                if text:
                    yield text
            if answer.error is not None:
                raise answer.error
        finally:
            self._end([answer])
