"""A tokenizer without transformers, whose import takes longer than an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

from tokenizers import AddedToken, Tokenizer

REMEMBERED_PIECES = 64
REMEMBERED_CHARACTERS = range(200, 100_000)
"""Lengths of the pieces that are remembered: many prompts begin with the same long one."""


class Encoded(NamedTuple):
    """What a tokenizer makes of a text, or of several."""

    input_ids: list[Any]


@dataclass(frozen=True)
class PlainTokenizer:
    """Has the methods and fields of a transformers tokenizer that answering needs, and gives the same."""

    backend_tokenizer: Tokenizer
    special_tokens_map: dict[str, str]
    chat_template: str | None

    def __call__(self, text: str | list[str], *, add_special_tokens: bool = True) -> Encoded:
        """Token ids of a text, or of each of several."""
        if isinstance(text, str) and not add_special_tokens:
            return Encoded(self._pieces.ids(text))
        if isinstance(text, str):
            return Encoded(self.backend_tokenizer.encode(text, add_special_tokens=True).ids)
        found = self.backend_tokenizer.encode_batch(text, add_special_tokens=add_special_tokens)
        return Encoded([encoding.ids for encoding in found])

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size()

    def decode(self, ids: Sequence[int], *, clean_up_tokenization_spaces: Literal[False] = False) -> str:
        """Text, special tokens by their names."""
        return self.backend_tokenizer.decode(ids, skip_special_tokens=False)

    def get_vocab(self) -> dict[str, int]:
        """Ids of all tokens."""
        return self.backend_tokenizer.get_vocab()

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens beside the vocabulary."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    @property
    def bos_token(self) -> str | None:
        """The token that texts begin with, or None."""
        return self.special_tokens_map.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        """The token that texts end with, or None."""
        return self.special_tokens_map.get("eos_token")

    @property
    def pad_token(self) -> str | None:
        """The token that rows are filled up with, or None."""
        return self.special_tokens_map.get("pad_token")

    @property
    def bos_token_id(self) -> int | None:
        """Its id."""
        return self._id(self.bos_token)

    @property
    def eos_token_id(self) -> int | None:
        """Its id."""
        return self._id(self.eos_token)

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self.backend_tokenizer.token_to_id(token)

    @cached_property
    def _pieces(self) -> _Pieces:
        return _Pieces(self.backend_tokenizer)


class _Pieces:
    """Token ids of texts by the pieces between special tokens, where tokenizers cut first; long ones are remembered.

    That is exact unless the place of a piece in the text matters: then texts are encoded whole.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._remembered = tokenizer, lru_cache(REMEMBERED_PIECES)(self._encoded)
        added = tokenizer.get_added_tokens_decoder().values()
        cuts = sorted((token.content for token in added if not token.normalized), key=len, reverse=True)
        looks_around = any(token.lstrip or token.rstrip or token.single_word for token in added)
        apart = bool(cuts) and not looks_around and not _marks_first(tokenizer)
        self._cuts = re.compile(f"({'|'.join(map(re.escape, cuts))})") if apart else None

    def ids(self, text: str) -> list[int]:
        """Of a text to which nothing is added."""
        if self._cuts is None:
            return self._encoded(text)
        found: list[int] = []
        for piece in self._cuts.split(text):
            found += (self._remembered if len(piece) in REMEMBERED_CHARACTERS else self._encoded)(piece)
        return found

    def _encoded(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids if text else []


def _marks_first(tokenizer: Tokenizer) -> bool:
    """Whether the beginning of a text is treated otherwise than that of a piece."""
    state = tokenizer.pre_tokenizer.__getstate__() if tokenizer.pre_tokenizer else b""
    return b'"prepend_scheme":"first"' in state
