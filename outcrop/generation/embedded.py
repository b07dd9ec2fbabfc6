"""The engine inside this process: any transformers causal language model, in memory, on its own device and dtype."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from outcrop.core.completions import Completion, CompletionRequest, Score, ScoreRequest
from outcrop.core.errors import UsageError
from outcrop.core.seeds import derive
from outcrop.generation.answers import Answer, Task
from outcrop.generation.limits import Limits
from outcrop.generation.sampling import Chooser, check_sampling
from outcrop.generation.scheduling import Capacity, Scheduler
from outcrop.generation.scoring import Scoring, check_scoring
from outcrop.generation.trunk import open_trunk


class EmbeddedEngine:
    """Continuous batching over a cache of slots; implements core.completions.Generator, for any number of threads.

    In fp32 an answer does not depend on the batch that it was computed in. Models of the Llama family are computed
    from copies of their weights as they are now; the model itself is left as it was.
    """

    def __init__(self, model: Any, tokenizer: Any, capacity: Capacity | None = None) -> None:
        """Raises ModelError for a model that cannot be computed exactly, UsageError for no capacity."""
        capacity = capacity or Capacity()
        for name in ("slots", "batch_tokens", "chunk_tokens"):
            if getattr(capacity, name) < 1:
                raise UsageError(f"{name} is {getattr(capacity, name)}.", "Allowed: at least 1.")
        self._tokenizer = tokenizer
        self._limits = Limits.of(model)
        self.scheduler = Scheduler(open_trunk(model), capacity, self._limits.vocabulary)
        self._lock = threading.Lock()

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        """Answer all requests, in their order; a request with n answers takes n places.

        Raises UsageError, before anything is computed, for sampling values out of bounds and for prompts that are
        empty, not in the vocabulary or leave no room in the model's context.
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
        vocabulary or longer than the model's context.
        """
        tasks = [self.scoring(request, f"score request {number}") for number, request in enumerate(requests)]
        self._run(tasks)
        return [task.scores() for task in tasks]

    def answers(self, request: CompletionRequest, where: str, *, live: bool = False) -> list[Answer]:
        """The tasks of a request, checked; raises as `complete` does."""
        check_sampling(request.sampling, self._limits.vocabulary, where)
        self._limits.check(request.prompt_ids, 1, where)
        if request.n < 1:
            raise UsageError(f"n is {request.n}.", "Allowed: at least 1.", where)
        room = self._limits.room(len(request.prompt_ids), request.sampling.max_new_tokens)
        seed = request.sampling.seed
        seeds = [seed if not number else derive(seed, "answer", number) for number in range(request.n)]
        choosers = [Chooser(replace(request.sampling, seed=each), request.prompt_ids) for each in seeds]
        return [Answer(request, chooser, self._tokenizer, room, live=live) for chooser in choosers]

    def scoring(self, request: ScoreRequest, where: str) -> Scoring:
        """The task of a request, checked; raises as `score` does."""
        check_scoring(request, self._limits, where)
        return Scoring(request, self.scheduler.slots.shape.device)

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
        with self._lock:
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
