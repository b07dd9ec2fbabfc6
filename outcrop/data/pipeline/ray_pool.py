"""The work of a preparation on Ray Data: the same tasks, mapped by a cluster, or by a Ray of this machine.

Tasks write shards to the work folder and read what steps name, so these paths have to lead to the same files on every
node. The bytes of the result are those of the local pool.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar, cast

from outcrop.core.errors import OutcropError
from outcrop.core.ray_session import check_ray, ray_session

Task = TypeVar("Task")
Result = TypeVar("Result")

WINDOW_PER_WORKER = 8
"""Tasks that are handed to Ray Data at once; so many blocks of input are in its memory."""


class RayPool:
    """So many tasks at a time. A Ray that is running, or that RAY_ADDRESS names, is used and left as it is."""

    def __init__(self, workers: int) -> None:
        """Raises MissingDependency where Ray is not installed."""
        check_ray("The runner ray")
        self.workers = workers
        self._session = ray_session(workers)

    def __enter__(self) -> RayPool:
        self._session.__enter__()
        import ray.data

        ray.data.DataContext.get_current().execution_options.preserve_order = True
        return self

    def __exit__(self, *error: object) -> None:
        self._session.__exit__(None, None, None)

    def map(self, work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """The results in the order of the tasks, which are taken window by window."""
        import ray.data

        waiting = iter(tasks)
        while window := list(islice(waiting, WINDOW_PER_WORKER * self.workers)):
            packed = [{"task": pickle.dumps((work, task))} for task in window]
            size = ray.data.TaskPoolStrategy(size=self.workers)
            done = ray.data.from_items(packed, override_num_blocks=len(packed)).map(_perform, compute=size)
            for row in done.iter_rows():
                result = pickle.loads(row["result"])  # noqa: S301 - made by _perform
                if isinstance(result, OutcropError):
                    raise result
                yield cast(Result, result)


def _perform(row: dict[str, Any]) -> dict[str, Any]:
    """Do one task. An error of the user comes back as a result, so that it arrives as it was raised."""
    work, task = pickle.loads(row["task"])  # noqa: S301 - made by RayPool.map
    try:
        result = work(task)
    except OutcropError as error:
        result = error
    return {"result": pickle.dumps(result)}
