"""Worker processes: results in the order of the tasks, few tasks in flight, nobody left behind when the parent dies."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, Self, TypeVar

from outcrop.core.catalog import Catalog
from outcrop.core.errors import JobFailed

Task = TypeVar("Task")
Result = TypeVar("Result")

IN_FLIGHT_PER_WORKER = 2


class Workers(Protocol):
    """Who does the work of a preparation."""

    def __enter__(self) -> Self:
        """Be ready for work."""
        ...

    def __exit__(self, *error: object) -> None:
        """Leave nobody behind."""
        ...

    def map(self, work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """The results in the order of the tasks, of which only a few are taken ahead."""
        ...


class Pool:
    """So many processes; with one, the work is done in this process."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def map(self, work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """The results in the order of the tasks, which are taken only as they are needed.

        work: a function of a module, so that it can be sent. Raises JobFailed when a worker was killed.
        """
        if self.workers == 1:
            yield from map(work, tasks)
            return
        if self._executor is None:
            # Not fork: the caller may have threads, and a fork copies their locks but not them.
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.workers, context, _begin)
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(self._executor.submit(work, task))
                if len(waiting) >= IN_FLIGHT_PER_WORKER * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise JobFailed(
                "A worker process ended before its work was done: killed, out of memory, or not able to start.",
                'Go on with --resume; in a script, call this under `if __name__ == "__main__":`, or use one worker.',
            ) from None


RUNNERS: Catalog[Callable[[int], Workers]] = Catalog(
    "runner", {"local": f"{__name__}:Pool", "ray": "outcrop.data.pipeline.ray_pool:RayPool"}
)


def _begin() -> None:
    os.environ["RAYON_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
