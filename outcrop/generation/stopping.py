"""Text while it grows: whole characters only, and nothing that is or may become a stop string."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

# What decoders put in place of bytes that are not, or not yet, a character.
REPLACEMENT = "\ufffd"
PROMPT_TAIL_TOKENS = 8

Endings = Mapping[int, Sequence[int]]
"""Stop ids that add text, and the tokens of it."""
NO_ENDINGS: Endings = MappingProxyType({})


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text without special tokens, and with its spaces as they are."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # The same text without the hundreds of checks that the wrapper makes of its arguments.
        return str(backend.decode(list(ids), skip_special_tokens=True))
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


class IncrementalText:
    """Text of a continuation, token by token: decode(prompt + continuation) less decode(prompt).

    Tokens are decoded after those of the previous piece (at first: after the end of the prompt), because decoders drop
    the space in front of the first token they see.
    """

    def __init__(self, tokenizer: Any, prompt_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._before, self._text_before = self._prompt_tail(prompt_ids)
        self._pending: list[int] = []

    def push(self, token: int) -> str:
        """The text that this token completes: empty while a character lacks bytes."""
        self._pending.append(token)
        text = self._text_of_pending()
        if not text or text.endswith(REPLACEMENT):
            return ""
        self._move_on()
        return text

    def push_all(self, tokens: Sequence[int]) -> str:
        """The text of `push` for each token, joined, and `flush`: decoded at once where all characters are whole."""
        before, text_before = self._before, self._text_before
        self._pending = list(tokens)
        text = self._text_of_pending() if tokens else ""
        self._pending = []
        if REPLACEMENT not in text:
            return text
        self._before, self._text_before = before, text_before
        return "".join([*map(self.push, tokens), self.flush()])

    def flush(self) -> str:
        """What is left when no token follows: bytes that never became a character."""
        text = self._text_of_pending() if self._pending else ""
        self._pending = []
        return text

    def _move_on(self) -> None:
        """Make the pending tokens those that the next ones are decoded after."""
        text = decode(self._tokenizer, self._pending)
        if REPLACEMENT in text:
            # They do not stand alone: their first bytes end a character that began before them.
            self._before += self._pending
            self._text_before = decode(self._tokenizer, self._before)
        else:
            self._before, self._text_before = self._pending, text
        self._pending = []

    def _text_of_pending(self) -> str:
        text = decode(self._tokenizer, self._before + self._pending)
        if text.startswith(self._text_before):
            return text[len(self._text_before) :]
        # Invalid bytes make byte-fallback decoders give up the valid ones before them, which are out already.
        return decode(self._tokenizer, self._pending)

    def _prompt_tail(self, prompt_ids: Sequence[int]) -> tuple[list[int], str]:
        """The shortest end of the prompt with text in it and no broken character, and that text."""
        size = PROMPT_TAIL_TOKENS
        while True:
            tail = list(prompt_ids[-size:])
            text = decode(self._tokenizer, tail)
            if size >= len(prompt_ids) or (text and REPLACEMENT not in text):
                # A character that the prompt leaves open is completed, and shown, by the continuation.
                return tail, text.rstrip(REPLACEMENT)
            size *= 2


class StopStrings:
    """Passes text on up to the first stop string, holding back an end that may be the beginning of one."""

    def __init__(self, stop_strings: Sequence[str]) -> None:
        self._stop_strings = tuple(stop_strings)
        self._held = ""
        self.met = False

    def push(self, text: str) -> str:
        """The text that is certain now; `met` is true from the moment a stop string is complete."""
        self._held += text
        found = [at for at in map(self._held.find, self._stop_strings) if at >= 0]
        if found:
            self.met = True
            return self._release(min(found))
        return self._release(len(self._held) - max(map(self._beginning, self._stop_strings), default=0))

    def flush(self) -> str:
        """The text held back, when no more follows."""
        return "" if self.met else self._release(len(self._held))

    def _release(self, length: int) -> str:
        released, self._held = self._held[:length], self._held[length:]
        return released

    def _beginning(self, stop: str) -> int:
        """How many characters at the end of the held text are a beginning of `stop`."""
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)
