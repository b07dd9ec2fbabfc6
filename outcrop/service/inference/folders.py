"""Model folders that were checked and digested once: again only when a file in them has changed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from outcrop.models.folder import FileStates, ModelFolder, find_model


@dataclass(frozen=True)
class KnownFolder:
    """A folder, its digest, that of how it is asked, too, and the state in which it was read."""

    folder: ModelFolder
    digest: str
    asking_digest: str
    state: FileStates

    @property
    def is_current(self) -> bool:
        """Whether its files, those of the bases under it or the student in it, are the same as when it was read."""
        try:
            return self.folder.state() == self.state
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
    state = folder.state()
    return KnownFolder(folder, folder.digest(), folder.asking_digest(), state)


def engine_folder(known: KnownFolder) -> ModelFolder:
    """The folder that an engine is loaded from: the base of an adapter, or the model itself."""
    return known.folder.base or known.folder


def state_of(folder: ModelFolder) -> tuple[Path, FileStates]:
    """What tells one content of a folder from another."""
    return folder.path.resolve(), folder.state()
