"""Random streams that are pure functions of a seed and of words, so that nothing depends on call order."""

from __future__ import annotations

import hashlib


def derive(seed: int, *words: object) -> int:
    """A 63-bit seed for the stream named by `words` ("epoch", 3), independent of all other streams."""
    text = "/".join([str(seed), *(str(word) for word in words)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
