"""The server's log: one JSON object on a line, and nothing in it that opens a door."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("outcrop.service")

SECRETS = re.compile(
    r"outcrop-[a-z0-9]{12}\.[\w-]{20,}"  # our bearer keys
    r"|(?i:bearer)\s+[\w.~+/=-]{8,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|(?i:signature)=[0-9a-f]{64}"
    r"|(?i:(?:secret|token|password|api_?key|authorization)[\w-]*)[\"']?\s*[:=]\s*[\"']?[^\s\"',}]{6,}"
)
HIDDEN = "[hidden]"


def redacted(text: str) -> str:
    """The text without keys, signatures and what is called a secret."""
    return SECRETS.sub(HIDDEN, text)


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, message, its fields, and the traceback of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return redacted(json.dumps(fields, ensure_ascii=True, default=str))


def set_up() -> None:
    """Write the log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("outcrop.service", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "outcrop.service" else logging.WARNING)
