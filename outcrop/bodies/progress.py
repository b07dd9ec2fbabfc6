"""From an engine's words to pieces of an answer: without the token that ends it, and with how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from outcrop.bodies.asks import WHOLE_CONTEXT, Ending, EndReason, Piece
from outcrop.core.completions import Completion, Sampling
from outcrop.core.engines import TokenEvent, Usage


@dataclass
class Progress:
    """One answer so far. sampling: with the model's stop ids; endings: those that add text, as the tokens of it, which
    are shown; strip: white space before the text is not its own."""

    sampling: Sampling
    tokenizer: Any
    endings: Mapping[int, Sequence[int]]
    strip: bool = False
    ids: list[int] = field(default_factory=list)

    def piece(self, event: TokenEvent) -> Piece:
        """What an event adds."""
        self.ids.extend(event.token_ids)
        text = event.text.lstrip() if self.strip else event.text
        self.strip = self.strip and not text
        if event.finish_reason is None or event.usage is None:
            return Piece(event.index, text, event.token_ids, event.logprobs, event.top_logprobs)
        reason, stop_string = self._reason(event.finish_reason, event.usage)
        shown = slice(-1 if self._is_closed else None)
        tops = event.top_logprobs[shown]
        ending = Ending(reason, stop_string, event.usage)
        return Piece(event.index, text, event.token_ids[shown], event.logprobs[shown], tops, ending)

    def whole(self, found: Completion, number: int, usage: Usage) -> Piece:
        """A whole answer as one piece."""
        reason, tops = found.finish_reason, found.top_logprobs
        return self.piece(TokenEvent(number, found.token_ids, found.logprobs, found.text, tops, reason, usage))

    @property
    def _is_closed(self) -> bool:
        """Whether the last token is one that only ends the answer."""
        return bool(self.ids) and self.ids[-1] in self.sampling.stop_ids and self.ids[-1] not in self.endings

    def _reason(self, finish_reason: str, usage: Usage) -> tuple[EndReason, str | None]:
        longest = self.sampling.max_new_tokens
        if finish_reason == "length":
            return "context" if usage.completion_tokens < longest != WHOLE_CONTEXT else "length", None
        if self._is_closed or not self.sampling.stop_strings:
            return "stop", None
        *ids, last = self.ids
        text = self.tokenizer.decode([*ids, *self.endings.get(last, (last,))])
        met = [(text.index(stop), stop) for stop in self.sampling.stop_strings if stop in text]
        return ("stop_string", min(met)[1]) if met else ("stop", None)
