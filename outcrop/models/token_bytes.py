"""The bytes that each token of a tokenizer stands for: what tokens of two tokenizers are compared by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from outcrop.models.description import described

SPACE = "\u2581"
"""How tokenizers in the manner of SentencePiece write a space."""


def token_bytes(tokenizer: Any) -> list[bytes | None]:
    """For each id its bytes; special and other added tokens by their names; None for an id without a token, and for all
    tokens of a kind that cannot be told apart from its name: of byte-level and of SentencePiece's kind they can."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}
    found: list[bytes | None] = [None] * (max(vocabulary.values()) + 1)
    decoders = set(_kinds(described(tokenizer)["decoder"]))
    table = _byte_of_character()
    for name, number in vocabulary.items():
        if number in added:
            found[number] = added[number].encode()
        elif "ByteLevel" in decoders:
            found[number] = bytes(table[each] for each in name) if table.keys() >= set(name) else None
        elif "ByteFallback" in decoders or "Metaspace" in decoders:
            found[number] = bytes([int(name[3:5], 16)]) if is_byte(name) else name.replace(SPACE, " ").encode()
    return found


def is_byte(name: str) -> bool:
    """Whether this is the fallback token of a byte: <0x0A>."""
    return len(name) == 6 and name.startswith("<0x") and name.endswith(">")


def _kinds(decoder: Any) -> Iterator[str]:
    """The kinds of the parts of a decoder."""
    if isinstance(decoder, dict):
        yield str(decoder.get("type"))
        for part in decoder.get("decoders", ()):
            yield from _kinds(part)


def _byte_of_character() -> dict[str, int]:
    """How byte-level tokenizers write bytes: printable Latin-1 as itself, the others from U+0100 on (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
