"""The engine inside this process: any transformers causal language model, in memory, on its own device and dtype."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from outcrop.core.completions import Completion, CompletionRequest, FinishReason, Score, ScoreRequest
from outcrop.core.errors import UsageError
from outcrop.generation.batching import Limits, inference, plan_batches, prefill
from outcrop.generation.sampling import DrawStream, check_sampling, choose_tokens
from outcrop.generation.scoring import score_requests
from outcrop.generation.stopping import IncrementalText, StopStrings


class EmbeddedEngine:
    """Batched generation and scoring with a KV cache; implements core.completions.Generator.

    The model keeps its mode, gradients and attention implementation; in fp32 an answer does not depend on the batch
    that it was computed in. max_batch_tokens bounds rows × (prompt + new tokens) of a batch of several rows.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, max_batch_tokens: int = 8192
    ) -> None:
        """Raises ModelError for a model with other state than keys and values, UsageError for no token budget."""
        if max_batch_tokens < 1:
            raise UsageError(f"max_batch_tokens is {max_batch_tokens}.", "Allowed: at least 1.")
        self._model = model
        self._tokenizer = tokenizer
        self._max_batch_tokens = max_batch_tokens
        self._limits = Limits.of(model)

    def complete(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        """Answer all requests, in their order.

        Raises UsageError, before anything is computed, for sampling values out of bounds and for prompts that are
        empty, not in the vocabulary or leave no room in the model's context.
        """
        for number, request in enumerate(requests):
            self._check(request, f"completion request {number}")
        rooms = [self._room(request) for request in requests]
        widths = [len(request.prompt_ids) + room for request, room in zip(requests, rooms, strict=True)]
        completions: dict[int, Completion] = {}
        for batch in plan_batches(widths, self._max_batch_tokens):
            answers = [_Answer(requests[at], self._tokenizer, rooms[at]) for at in batch]
            decoding = _Decoding(self._model, answers, self._limits)
            while not decoding.finished:
                decoding.step()
            completions.update(zip(batch, (answer.completion() for answer in answers), strict=True))
        return [completions[at] for at in range(len(requests))]

    def stream(self, request: CompletionRequest) -> Iterator[str]:
        """Text deltas of one answer; joined they are the text of `complete`. Raises as `complete` does, at once."""
        self._check(request, "completion request")
        return self._deltas(_Answer(request, self._tokenizer, self._room(request)))

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """Log-likelihoods of every request's candidates, in order; prompts and shared beginnings are computed once.

        Raises UsageError, before anything is computed, for prompts and candidates that are empty, not in the
        vocabulary or longer than the model's context.
        """
        return score_requests(self._model, requests, self._limits, self._max_batch_tokens)

    def _check(self, request: CompletionRequest, where: str) -> None:
        check_sampling(request.sampling, where)
        self._limits.check(request.prompt_ids, 1, where)

    def _room(self, request: CompletionRequest) -> int:
        """How many tokens the answer may have."""
        wanted, context = request.sampling.max_new_tokens, self._limits.context
        return wanted if context is None else min(wanted, context - len(request.prompt_ids))

    def _deltas(self, answer: _Answer) -> Iterator[str]:
        decoding = _Decoding(self._model, [answer], self._limits)
        given = 0
        while not decoding.finished:
            decoding.step()
            if len(answer.text) > given:
                yield answer.text[given:]
                given = len(answer.text)


class _Answer:
    """One answer being written: its tokens, its text as far as it is certain, and why it ended."""

    def __init__(self, request: CompletionRequest, tokenizer: PreTrainedTokenizerBase, room: int) -> None:
        self.prompt_ids = request.prompt_ids
        self.sampling = request.sampling
        self.room = room
        self.stream = DrawStream(request.sampling)
        self.text = ""
        self.finish_reason: FinishReason | None = None
        self._token_ids: list[int] = []
        self._logprobs: list[float] = []
        self._characters = IncrementalText(tokenizer, request.prompt_ids)
        self._stop_strings = StopStrings(request.sampling.stop_strings)
        self._started = time.perf_counter()
        self._seconds = 0.0

    def accept(self, token: int, logprob: float) -> None:
        """Append a token; finish if it is a stop id, completes a stop string or takes the last room."""
        self._token_ids.append(token)
        self._logprobs.append(logprob)
        stopped = token in self.sampling.stop_ids
        if not stopped:
            self.text += self._stop_strings.push(self._characters.push(token))
        full = len(self._token_ids) >= self.room
        if (stopped or full) and not self._stop_strings.met:
            self.text += self._stop_strings.push(self._characters.flush())
            self.text += self._stop_strings.flush()
        if stopped or full or self._stop_strings.met:
            self.finish_reason = "stop" if stopped or self._stop_strings.met else "length"
            self._seconds = time.perf_counter() - self._started

    def completion(self) -> Completion:
        """The finished answer."""
        assert self.finish_reason is not None, "asked for an unfinished answer"
        return Completion(
            text=self.text,
            token_ids=tuple(self._token_ids),
            logprobs=tuple(self._logprobs),
            finish_reason=self.finish_reason,
            prompt_tokens=len(self.prompt_ids),
            seconds=self._seconds,
        )


class _Decoding:
    """A batch of answers, one token each per step. Finished rows leave the cache when they are half of it."""

    def __init__(self, model: PreTrainedModel, answers: Sequence[_Answer], limits: Limits) -> None:
        self._model = model
        self._answers = list(answers)
        width = max(len(answer.prompt_ids) for answer in answers) + max(answer.room for answer in answers)
        with inference(model):
            self._rows, self._logits_BV = prefill(
                model, [answer.prompt_ids for answer in answers], limits.can_share(width)
            )
        self._tokens_B: torch.Tensor | None = None

    @property
    def finished(self) -> bool:
        return all(answer.finish_reason for answer in self._answers)

    def step(self) -> None:
        """Feed the tokens chosen last, except before the first step, and choose the next ones."""
        with inference(self._model):
            if self._tokens_B is not None:
                self._logits_BV = self._feed(self._tokens_B)
            samplings = [answer.sampling for answer in self._answers]
            self._tokens_B, logprobs_B = choose_tokens(
                self._logits_BV, samplings, [answer.stream for answer in self._answers]
            )
        for answer, token, logprob in zip(self._answers, self._tokens_B.tolist(), logprobs_B.tolist(), strict=True):
            if not answer.finish_reason:
                answer.accept(token, logprob)

    def _feed(self, tokens_B: torch.Tensor) -> torch.Tensor:
        unfinished = [row for row, answer in enumerate(self._answers) if not answer.finish_reason]
        if 2 * len(unfinished) <= len(self._answers):
            self._rows.keep(unfinished)
            self._answers = [self._answers[row] for row in unfinished]
            tokens_B = tokens_B[unfinished]
        # A finished row gets padding, so that its positions cannot run past the context.
        going = torch.tensor([[0 if answer.finish_reason else 1] for answer in self._answers])
        return self._rows.extend(tokens_B[:, None], going.to(tokens_B.device))
