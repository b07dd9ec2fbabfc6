"""The prediction cache as jobs use it: what is known is not computed again, and a cache that fails stops nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from outcrop.core.errors import StoreUnavailable
from outcrop.core.events import Listener
from outcrop.store.predictions import PredictionStore

KEPT_AT_ONCE = 256


class PredictionCache:
    """Answers of other jobs, by the digests of `requests.py`, as the texts of `answer_text`.

    path: the file, None for no cache. Its first failure is one warning; after that nothing is found or kept.
    """

    def __init__(self, path: Path | None, listener: Listener) -> None:
        self._listener = listener
        self._store: PredictionStore | None = None
        self._new: list[tuple[bytes, str]] = []
        if path is not None:
            try:
                self._store = PredictionStore(path)
            except StoreUnavailable as error:
                self._give_up(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        if self._store is not None:
            self._store.close()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """The answers that are known."""
        try:
            return self._store.find(keys) if self._store is not None else {}
        except StoreUnavailable as error:
            self._give_up(error)
            return {}

    def keep(self, answers: Iterable[tuple[bytes, str]]) -> None:
        """Add answers, some at a time."""
        for answer in answers if self._store is not None else ():
            self._new.append(answer)
            if len(self._new) >= KEPT_AT_ONCE:
                self.flush()

    def flush(self) -> None:
        """Add those that wait to be added."""
        new, self._new = self._new, []
        if self._store is None or not new:
            return
        try:
            self._store.keep(new)
        except StoreUnavailable as error:
            self._give_up(error)

    def _give_up(self, error: StoreUnavailable) -> None:
        if self._store is not None:
            self._store.close()
        self._store = None
        message = f"The prediction cache is not used. {error}"
        self._listener({"event": "warning", "code": "no-prediction-cache", "message": message})
