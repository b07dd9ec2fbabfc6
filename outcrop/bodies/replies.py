"""What an answer tells besides itself, in every API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from outcrop.bodies.asks import Ask


class Context(NamedTuple):
    """created: Unix seconds; prompt_ids: what the model read; token_texts: what each token adds to the text.

    prompt_logprobs: of the prompt's tokens but the first, where an echo is to show them. token_bytes: what a token
    stands for, also where it is a part of a character; None where texts alone are known.
    """

    model_id: str
    request_id: str
    created: int
    ask: Ask
    prompt_ids: Sequence[int]
    token_texts: Callable[[Sequence[int]], list[str]]
    prompt_logprobs: tuple[float, ...] = ()
    token_bytes: Callable[[int], bytes] | None = None

    @property
    def prompt_tokens(self) -> int:
        """How many tokens the model read."""
        return len(self.prompt_ids)
