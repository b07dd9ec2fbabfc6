"""What all requests share: the specification, the database, keys, models; and who must be told when the server ends."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync

from outcrop.core import settings
from outcrop.core.errors import StoreUnavailable
from outcrop.jobs import controller
from outcrop.jobs.controller import IDLE_S, ControllerSpec
from outcrop.jobs.queue import Queue
from outcrop.service.auth import Authenticator
from outcrop.service.bedrock.early import EarlyChecks
from outcrop.service.bedrock.foundation import FoundationModels
from outcrop.service.bedrock.progress import Progress
from outcrop.service.keys import Keys
from outcrop.service.log import LOGGER
from outcrop.service.metrics import Metrics
from outcrop.service.spec import ServeSpec
from outcrop.store.database import Database
from outcrop.store.places import PlacesSpec
from outcrop.store.projects import Project, ProjectTable
from outcrop.store.resources import ResourceTable

SETTLE_S = 1.0
"""Between two looks at jobs whose results are not registered yet."""


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
        self.metrics = Metrics(self.queue, self.resources)
        self.early = EarlyChecks(self.resources, self.queue)
        self.progress = Progress(self.resources, self.queue, self.model_folder)
        self.parts: dict[str, Any] = {}
        self.closing = AsyncExitStack()
        self.is_ending = False

    @cached_property
    def model_folder(self) -> Path:
        """Where custom and imported models are kept, each in a folder named by its id."""
        folder = self.home / "models"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def places(self, project: Project) -> PlacesSpec:
        """Where a project's files are: its own folder of buckets, or the S3 server that all projects share."""
        buckets = ""
        if not self.spec.s3_endpoint:
            folder = self.home / "buckets" / project.account
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            buckets = str(folder)
        return PlacesSpec(buckets=buckets, endpoint=self.spec.s3_endpoint, allowed=self.spec.allowed_locations)

    async def begin(self) -> None:
        """Start what works in the background: the controller of jobs, and what registers their results."""
        await self.closing.__aenter__()
        if self.spec.start_controller:
            await run_sync(self._start_controller)
        registering = asyncio.create_task(self._register())
        self.closing.push_async_callback(_cancelled, registering)

    async def end(self) -> None:
        """Close everything, when the last request has been answered."""
        self.is_ending = True
        await self.closing.aclose()
        self.close()

    def look_after_jobs(self) -> None:
        """Start the controller where jobs have none: it ends when nothing is left to do, and may have been killed."""
        if self.spec.start_controller and self.queue.unfinished():
            self._start_controller()

    def _start_controller(self) -> None:
        controller.start(ControllerSpec(database=settings.database(), idle_s=IDLE_S))

    async def _register(self) -> None:
        while True:
            try:
                await run_sync(self.look_after_jobs)
                await run_sync(self.progress.settle)
            except StoreUnavailable:
                LOGGER.warning("The database does not answer; jobs are looked at again")
            except Exception:  # noqa: BLE001  the server goes on, and tries again
                LOGGER.exception("The results of jobs could not be registered")
            await asyncio.sleep(SETTLE_S)

    def close(self) -> None:
        """Let go of the database."""
        self.early.close()
        self.database.close()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
