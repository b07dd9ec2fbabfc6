"""Seconds that the stages of a run take, over all its attempts: what was killed is counted, too."""

from __future__ import annotations

import json
import time
from pathlib import Path

from outcrop.core.events import Event, Listener
from outcrop.core.files import write_json

SAVED_EVERY_S = 5.0
"""What a kill loses of the account at most, and how short a run leaves no account behind."""


class StageClock:
    """One stage runs at a time, from `enter` to the next. The account lies in a file that the next attempt reads."""

    def __init__(self, file: Path) -> None:
        self._file, self._stage = file, ""
        self._seconds: dict[str, float] = json.loads(file.read_text("utf-8")) if file.exists() else {}
        self._since = self._saved = time.monotonic()

    def enter(self, stage: str) -> None:
        """End the stage before and begin this one; one that was left goes on where it stood."""
        self._count()
        self._stage = stage

    def seconds(self) -> dict[str, float]:
        """By stage, in the order they were first entered, up to now."""
        self._count()
        return dict(self._seconds)

    def heard(self, listener: Listener) -> Listener:
        """The listener, with the account kept up to date whenever it hears something."""

        def hear(event: Event) -> None:
            listener(event)
            if time.monotonic() - self._saved > SAVED_EVERY_S:
                self._saved = time.monotonic()
                write_json(self._file, self.seconds())

        return hear

    def _count(self) -> None:
        now = time.monotonic()
        if self._stage:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._since = now
