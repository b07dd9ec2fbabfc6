"""Every environment variable that Outcrop reads, once."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """OUTCROP_HOME: where ledgers and registered models live (default ~/.outcrop)."""
    return Path(os.environ.get("OUTCROP_HOME", "~/.outcrop")).expanduser()


def threads() -> int:
    """OUTCROP_THREADS: threads for numerical work (default: the processors this process may use)."""
    given = os.environ.get("OUTCROP_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
