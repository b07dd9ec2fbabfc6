"""Provisioned throughput behind the API: places are held and their rate is measured, and a delete gives them back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from anyio.to_thread import run_sync

from outcrop.core.errors import NotReady, StoreUnavailable
from outcrop.service.bedrock.arns import PROVISIONED
from outcrop.service.bedrock.errors import not_found, translated
from outcrop.service.bedrock.registry import resolve
from outcrop.service.bedrock.runtime.errors import runtime_error
from outcrop.service.inference.reservations import Rate, Reservations
from outcrop.service.log import LOGGER
from outcrop.service.state import Service
from outcrop.store.projects import Project
from outcrop.store.resources import Resource

CREATING, UPDATING, IN_SERVICE, FAILED = "Creating", "Updating", "InService", "Failed"
UNFINISHED = (CREATING, UPDATING)
DESIRED, RATE, FAILURE = "desiredModelArn", "rate", "failureMessage"
"""Members of a row's body: the model that an update leads to, the measured rate, and why the last change failed."""
AGAIN_S = 0.5


class Provisioning:
    """Makes ready what is Creating or Updating, one after the other, so that no measurement disturbs another.

    All methods belong to the server's event loop.
    """

    def __init__(self, service: Service, reservations: Reservations) -> None:
        self._service, self._reservations = service, reservations
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: set[str] = set()
        self._measuring = asyncio.Lock()

    async def resume(self) -> None:
        """Go on with what an earlier server did not finish."""
        rows = await run_sync(self._service.resources.everywhere, PROVISIONED.name, UNFINISHED)
        projects = {project.id: project for project in await run_sync(self._service.projects.all)} if rows else {}
        for row in rows:
            self.begin(projects[row.project_id], row.arn)

    def begin(self, project: Project, arn: str) -> None:
        """Make an ARN ready in the background, after what is being done for it already."""
        task = asyncio.create_task(self._work(project, arn, self._tasks.get(arn)))
        self._tasks[arn] = task
        task.add_done_callback(partial(self._done, arn))

    def end(self, arn: str) -> None:
        """Give the places of an ARN back, for good. Its row is gone already."""
        self._ended.add(arn)
        if arn in self._tasks:
            self._tasks[arn].cancel()
        self._reservations.release(arn)

    async def hold(self, arn: str, path: str, units: int) -> None:
        """Renew the reservation that a request comes by, after a restart.

        While it is made or moved, nothing is done: the request takes whatever place there is. Raises as
        `Reservations.hold`, and ResourceNotFoundException where it was deleted since the request arrived.
        """
        if arn not in self._tasks and arn not in self._ended:
            await self._reservations.hold(arn, path, units)
        if arn in self._ended:
            self._reservations.release(arn)
            raise not_found("Model not found.")

    async def close(self) -> None:
        """Leave what is not finished to the next server."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, arn: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(arn) is task:
            del self._tasks[arn]
        if not task.cancelled() and (error := task.exception()) is not None:
            LOGGER.error("Provisioned throughput could not be made ready", exc_info=error)

    async def _work(self, project: Project, arn: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.gather(before, return_exceptions=True)
        while True:
            try:
                async with self._measuring:
                    return await self._prepare(project, arn)
            except StoreUnavailable:
                LOGGER.warning("The database does not answer; provisioned throughput is looked at again")
                await asyncio.sleep(AGAIN_S)

    async def _prepare(self, project: Project, arn: str) -> None:
        find = partial(self._service.resources.find, project, [PROVISIONED.name], arn=arn)
        row = await run_sync(find)
        if row is None or row.status not in UNFINISHED:
            return
        try:
            values = _succeeded(row, await self._reserve(project, row))
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, the row tells it
            values = _failed(row, error)
        if await run_sync(partial(self._service.resources.change, row, values, only_in=(row.status,))):
            _tell(row, values)

    async def _reserve(self, project: Project, row: Resource) -> Rate:
        """Hold the places, however long loading takes, and measure what they give."""
        found = await run_sync(resolve, self._service, project, _wanted(row))
        while True:
            try:
                await self._reservations.hold(row.arn, found.path, int(row.body["modelUnits"]))
                break
            except NotReady:
                await asyncio.sleep(AGAIN_S)
        try:
            return await self._reservations.measure(row.arn, found.path)
        except Exception:
            self._reservations.release(row.arn)
            raise


def _wanted(row: Resource) -> str:
    return str(row.body.get(DESIRED) or row.model)


def _settled(row: Resource) -> dict[str, Any]:
    return {name: value for name, value in row.body.items() if name not in (DESIRED, FAILURE)}


def _succeeded(row: Resource, rate: Rate) -> dict[str, Any]:
    return {"status": IN_SERVICE, "model": _wanted(row), "body": {**_settled(row), RATE: rate._asdict()}}


def _failed(row: Resource, error: Exception) -> dict[str, Any]:
    """What cannot be made has failed; what cannot be moved stays with the model that it had."""
    found = translated(runtime_error(error, _wanted(row)))
    if found.status == 500:
        LOGGER.error("Provisioned throughput could not be made ready", exc_info=error)
    status = FAILED if row.status == CREATING else IN_SERVICE
    return {"status": status, "body": {**_settled(row), FAILURE: found.message}}


def _tell(row: Resource, values: Mapping[str, Any]) -> None:
    """A line in the log."""
    body = values["body"]
    fields = {"arn": row.arn, "status": values["status"], "model": values.get("model", row.model)}
    told = {FAILURE: body[FAILURE]} if FAILURE in body else body[RATE]
    level = LOGGER.warning if FAILURE in body else LOGGER.info
    level("provisioned throughput", extra={"fields": {**fields, "model_units": body["modelUnits"], **told}})
