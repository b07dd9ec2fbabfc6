"""A look at the data of a new job while it waits for its turn: what is wrong with them is told within seconds.

The job itself checks again, and more; this look only spares the wait. It reads files up to MOST_BYTES.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outcrop.core.errors import DataError, OutcropError, UsageError
from outcrop.data.problems import Problems
from outcrop.data.prompts import read_prompts
from outcrop.data.reading import read
from outcrop.jobs.queue import Queue
from outcrop.service.bedrock.failures import failure_message
from outcrop.service.log import LOGGER
from outcrop.store.places import Places, PlacesSpec
from outcrop.store.resources import Resource, ResourceTable
from outcrop.workflows.data_report import published

MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Look:
    """Which files a job will read, and where its results go. model_id: of the model that it is to make; prompts: rows
    may lack an answer."""

    resource: Resource
    places: PlacesSpec
    uris: Sequence[str]
    output: str
    model_id: str
    prompts: bool = False


class EarlyChecks:
    """Looks at the data of new jobs, one job after the other, in a thread of its own."""

    def __init__(self, resources: ResourceTable, queue: Queue) -> None:
        self._resources, self._queue = resources, queue
        self._thread = ThreadPoolExecutor(1, "early-checks")

    def submit(self, look: Look) -> None:
        """Look at these data soon."""
        self._thread.submit(self._look, look)

    def finish(self) -> None:
        """Wait until all that was submitted is done."""
        self._thread.submit(lambda: None).result()

    def close(self) -> None:
        """Leave out what was not begun: the jobs check for themselves."""
        self._thread.shutdown(cancel_futures=True)

    def _look(self, look: Look) -> None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                self._check(look, Path(folder))
        except DataError as error:
            self._fail(look, error.as_dict())
        except (OutcropError, OSError):
            LOGGER.warning("The data of %s could not be looked at; the job will say why", look.resource.arn)
        except Exception:  # noqa: BLE001  a look that fails must not end the others
            LOGGER.exception("The data of %s could not be looked at", look.resource.arn)

    def _check(self, look: Look, folder: Path) -> None:
        store, names = Places(look.places), {}
        found = [(uri, file) for uri in look.uris for file in store.files(uri)]
        if sum(file.size for _, file in found) > MOST_BYTES:
            return
        for number, (uri, file) in enumerate(found):
            target = folder / str(number) / (file.name or uri.rstrip("/")).rpartition("/")[2]
            target.parent.mkdir()
            store.fetch(uri, file.name, target)
            names[str(target)] = f"{uri.rstrip('/')}/{file.name}".rstrip("/")
        problems = Problems()
        for _ in (read_prompts if look.prompts else read)(list(names), None, None, problems):
            pass
        try:
            problems.raise_errors()
        except DataError as error:
            raise published(store, look.output, error, names) from None

    def _fail(self, look: Look, error: dict[str, Any]) -> None:
        body = {**look.resource.body, "failureMessage": failure_message(error)}
        values = {"status": "Failed", "body": body}
        others = {look.model_id: None}
        if self._resources.change(look.resource, values, only_in=("InProgress",), others=others, ends=True):
            with suppress(UsageError):
                self._queue.stop(look.resource.job_id or "")
