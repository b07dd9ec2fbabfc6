"""Model folders that were checked and digested once: again only when a file in them has changed."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from outcrop.models.folder import ModelFolder, find_model

State = tuple[tuple[str, int, int], ...]
"""Path, time of change and size of every file."""


@dataclass(frozen=True)
class KnownFolder:
    """A folder, its digest, that of how it is asked, too, and the state in which it was read."""

    folder: ModelFolder
    digest: str
    asking_digest: str
    state: State

    @property
    def is_current(self) -> bool:
        """Whether its files, those of the bases under it or the student in it, are the same as when it was read."""
        try:
            return _state(self.folder) == self.state
        except OSError:
            return False


class Folders:
    """Finds folders by the names of models. Reading one takes as long as its weights are large, so it is done once."""

    def __init__(self) -> None:
        self._known: dict[str, KnownFolder] = {}

    async def find(self, name: str) -> KnownFolder:
        """The folder of a model. Raises ModelError as find_model does."""
        known = self._known.get(name)
        if known is None or not known.is_current:
            known = self._known[name] = await asyncio.to_thread(_read, name)
        return known


def _read(name: str) -> KnownFolder:
    folder = find_model(name)
    state = _state(folder)
    return KnownFolder(folder, folder.digest(), folder.asking_digest(), state)


def _state(folder: ModelFolder) -> State:
    own = sorted((entry.path, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in os.scandir(folder.path))
    inside = folder.base or folder.student
    return (*own, *(_state(inside) if inside else ()))


def engine_folder(known: KnownFolder) -> ModelFolder:
    """The folder that an engine is loaded from: the base of an adapter, or the model itself."""
    return known.folder.base or known.folder


def state_of(folder: ModelFolder) -> tuple[Path, State]:
    """What tells one content of a folder from another."""
    return folder.path.resolve(), _state(folder)
