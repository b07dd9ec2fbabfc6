"""What all requests share: the specification, the database, keys, models; and who must be told when the server ends."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from outcrop.core import settings
from outcrop.jobs.queue import Queue
from outcrop.service.auth import Authenticator
from outcrop.service.bedrock.foundation import FoundationModels
from outcrop.service.keys import Keys
from outcrop.service.metrics import Metrics
from outcrop.service.spec import ServeSpec
from outcrop.store.database import Database
from outcrop.store.projects import ProjectTable
from outcrop.store.resources import ResourceTable


class Service:
    """The state of one server.

    parts: what other rooms keep here for the life of the server, by their own key; closing: what is pushed on it is
    closed, the last one first, when the server ends.
    """

    def __init__(self, spec: ServeSpec) -> None:
        self.spec = spec
        self.home = settings.home()
        self.database = Database.open(settings.database())
        self.queue = Queue(self.database)
        self.projects = ProjectTable(self.database)
        self.resources = ResourceTable(self.database)
        self.keys = Keys(self.projects, self.home / "service")
        self.authenticator = Authenticator(self.keys)
        self.foundation = FoundationModels.load(spec)
        self.metrics = Metrics(self.queue)
        self.parts: dict[str, Any] = {}
        self.closing = AsyncExitStack()
        self.is_ending = False

    @cached_property
    def model_folder(self) -> Path:
        """Where custom and imported models are kept, each in a folder named by its id."""
        folder = self.home / "models"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    async def begin(self) -> None:
        """Start what works in the background."""
        await self.closing.__aenter__()

    async def end(self) -> None:
        """Close everything, when the last request has been answered."""
        self.is_ending = True
        await self.closing.aclose()
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()
