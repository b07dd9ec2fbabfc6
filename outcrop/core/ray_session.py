"""A Ray to work on: one that runs, one that RAY_ADDRESS names, or one of this machine that ends with its use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from outcrop.core.errors import MissingDependency

SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "300"}
"""Nothing is reported to anyone, and a busy machine has time to start; read when ray is imported."""

STORE_BYTES = 512 << 20
"""Shared memory of a Ray that is started here; Ray puts what does not fit on the disk."""


def check_ray(what: str) -> None:
    """Raise MissingDependency, naming what needs it, where Ray is not installed."""
    if find_spec("ray") is None:
        raise MissingDependency.of("ray", "ray", what)


@contextmanager
def ray_session(processors: int) -> Iterator[None]:
    """Ray and Ray Data, ready to be used within the block. processors: of a Ray that is started here."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    is_ours = not ray.is_initialized()
    if is_ours:
        address = os.environ.get("RAY_ADDRESS")
        local = {"num_cpus": processors, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        ray.init(address=address, log_to_driver=False, logging_level="warning", **({} if address else local))
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
    finally:
        if is_ours:
            ray.shutdown()
