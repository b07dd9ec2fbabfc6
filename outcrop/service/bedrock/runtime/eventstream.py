"""Messages of application/vnd.amazon.eventstream: prelude, headers, payload, and their checksums."""

from __future__ import annotations

import json
import struct
from binascii import crc32
from collections.abc import Mapping
from typing import Any

CONTENT_TYPE = "application/vnd.amazon.eventstream"
JSON = "application/json"
TEXT_HEADER = 7
"""The type number of a header whose value is text."""

WORD = struct.Struct("!I")
PRELUDE = struct.Struct("!II")
TEXT_LENGTH = struct.Struct("!H")


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message: lengths of it all and of the headers, their CRC-32, headers, payload, CRC-32 of all before."""
    block = b"".join(_header(name, value) for name, value in headers.items())
    lengths = PRELUDE.pack(PRELUDE.size + len(block) + len(payload) + 2 * WORD.size, len(block))
    content = lengths + WORD.pack(crc32(lengths)) + block + payload
    return content + WORD.pack(crc32(content))


def event(kind: str, value: Mapping[str, Any]) -> bytes:
    """An event of an operation's output, by the name of its member."""
    return message({":event-type": kind, ":content-type": JSON, ":message-type": "event"}, encode(value))


def exception(kind: str, value: Mapping[str, Any]) -> bytes:
    """The end of a stream by an error, by the name of its member (throttlingException)."""
    return message({":exception-type": kind, ":content-type": JSON, ":message-type": "exception"}, encode(value))


def encode(value: Mapping[str, Any]) -> bytes:
    """JSON as the service writes it everywhere: compact, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _header(name: str, value: str) -> bytes:
    key, content = name.encode(), value.encode()
    return bytes([len(key)]) + key + bytes([TEXT_HEADER]) + TEXT_LENGTH.pack(len(content)) + content
