"""The progress of a preparation as events: what is done now, how much of it, and how long the rest will take."""

from __future__ import annotations

import time

from outcrop.core.events import Listener


class Following:
    """Tells of one stage. The time that is left is estimated from what this run has done."""

    def __init__(self, listener: Listener, title: str) -> None:
        self._listener = listener
        self._begin(title)
        self._whole = title

    def _begin(self, title: str) -> None:
        self._title, self._began, self._new = title, time.monotonic(), 0
        self._listener({"event": "stage", "title": title})

    def rows(self, new: int, done: int, total: int | None, share: float | None = None) -> None:
        """Tell that `new` more rows were worked on and `done` of `total` are there; share: of the input, if known."""
        self._new += new
        spent = time.monotonic() - self._began
        left = None
        if total is not None and self._new:
            left = spent * (total - done) / self._new
        elif share:
            left = spent * (1 - share) / share
        self._listener({"event": "progress", "title": self._title, "done": done, "total": total, "eta_s": left})

    def __call__(self, what: str, done: int, total: int) -> None:
        """Tell how much of a decision is done; each thing that it does is a stage."""
        title = f"{self._whole}: {what}"
        if title != self._title:
            self._begin(title)
        spent = time.monotonic() - self._began
        left = spent * (total - done) / done if done else None
        self._listener({"event": "progress", "title": title, "done": done, "total": total, "eta_s": left})
