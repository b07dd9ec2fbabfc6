"""One answer being written: its tokens, its text as far as it is certain, and why it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from outcrop.core.completions import Completion, CompletionRequest, FinishReason, TopLogprobs
from outcrop.core.engines import TokenEvent, Usage
from outcrop.core.errors import OutcropError
from outcrop.generation.sampling import Chooser, Grammar
from outcrop.generation.stopping import NO_ENDINGS, Endings, IncrementalText, StopStrings


class Task:
    """What the scheduler works on: a prompt, the adapter it is computed with, and how it ends.

    room: tokens that may follow the prompt; on_change is called after every step that changed the task.
    """

    def __init__(self, prompt_ids: tuple[int, ...], adapter: str | None, room: int) -> None:
        self.prompt_ids, self.adapter, self.room = prompt_ids, adapter, room
        self.cached_tokens = 0
        self.started: float | None = None
        self.error: OutcropError | None = None
        self.cancelled = False
        self.on_change: Callable[[], None] | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.error is not None or self.cancelled

    def begin(self, cached_tokens: int) -> None:
        """Note that computing begins, and how much of the prompt need not be computed."""
        self.cached_tokens, self.started = cached_tokens, time.perf_counter()

    def notify(self) -> None:
        """Tell the listener."""
        if self.on_change is not None:
            self.on_change()


class Answer(Task):
    """One answer to a request. live: text is made token by token, for someone who reads along; closing: tokens that are
    a part of the answer and end it; endings: stop ids that add text, as the tokens of it."""

    def __init__(
        self,
        request: CompletionRequest,
        chooser: Chooser,
        tokenizer: Any,
        room: int,
        *,
        live: bool = False,
        closing: frozenset[int] = frozenset(),
        endings: Endings = NO_ENDINGS,
    ) -> None:
        super().__init__(request.prompt_ids, request.adapter, room)
        self.chooser, self.sampling = chooser, chooser.sampling
        self.text, self._closing, self._endings = "", closing, endings
        self.finish_reason: FinishReason | None = None
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.top_logprobs: list[TopLogprobs] = []
        self._by_token = live or bool(self.sampling.stop_strings)
        self._characters = IncrementalText(tokenizer, request.prompt_ids)
        self._stop_strings = StopStrings(self.sampling.stop_strings)
        self._seconds = 0.0
        self._told_tokens = self._told_text = 0

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None or super().finished

    def accept(self, token: int, logprob: float, top: TopLogprobs) -> None:
        """Append a token; finish if it is a stop id, completes a stop string or a constraint, or fills the room."""
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        if self.sampling.top_logprobs:
            self.top_logprobs.append(top)
        self.chooser.accept(token)
        stopped = token in self.sampling.stop_ids
        if self._by_token:
            for shown in self._endings.get(token, ()) if stopped else (token,):
                self.text += self._stop_strings.push(self._characters.push(shown))
        complete = stopped or self._stop_strings.met or self._formed() or token in self._closing
        if complete or len(self.token_ids) >= self.room:
            self._finish("stop" if complete else "length", stopped)

    def end(self, reason: FinishReason) -> None:
        """Finish, for an engine that knows by itself that nothing follows."""
        self._finish(reason, stopped=False)

    def _formed(self) -> bool:
        grammar: Grammar | None = self.chooser.grammar
        return grammar is not None and grammar.finished

    def _finish(self, reason: FinishReason, stopped: bool) -> None:
        if not self._by_token:
            ids = [*self.token_ids[:-1], *self._endings.get(self.token_ids[-1], ())] if stopped else self.token_ids
            self.text = self._characters.push_all(ids)
        if not self._stop_strings.met:
            self.text += self._stop_strings.push(self._characters.flush()) + self._stop_strings.flush()
        self.finish_reason = reason
        assert self.started is not None, "an answer finished before it began"
        self._seconds = time.perf_counter() - self.started

    def event(self, index: int) -> TokenEvent:
        """What is new since the last event."""
        tokens, text = slice(self._told_tokens, len(self.token_ids)), self.text[self._told_text :]
        self._told_tokens, self._told_text = tokens.stop, len(self.text)
        done = self.finish_reason is not None
        return TokenEvent(
            index=index,
            token_ids=tuple(self.token_ids[tokens]),
            logprobs=tuple(self.logprobs[tokens]),
            text=text,
            top_logprobs=tuple(self.top_logprobs[tokens]),
            finish_reason=self.finish_reason,
            usage=Usage(len(self.prompt_ids), self.cached_tokens, len(self.token_ids)) if done else None,
        )

    @property
    def has_news(self) -> bool:
        """Whether `event` would have something in it."""
        return self._told_tokens < len(self.token_ids)

    def completion(self) -> Completion:
        """The finished answer."""
        assert self.finish_reason is not None, "asked for an unfinished answer"
        return Completion(
            text=self.text,
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            finish_reason=self.finish_reason,
            prompt_tokens=len(self.prompt_ids),
            seconds=self._seconds,
            cached_tokens=self.cached_tokens,
            top_logprobs=tuple(self.top_logprobs),
        )
