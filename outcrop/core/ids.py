"""Identifiers: short random names that can be typed, sorted nowhere and guessed by nobody."""

from __future__ import annotations

import secrets
import string

ALPHABET = string.ascii_lowercase + string.digits
LENGTH = 12
"""As Bedrock's own identifiers: 62 bits, so that chance makes no id twice."""


def new_id() -> str:
    """A new identifier of 12 lower-case letters and digits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
