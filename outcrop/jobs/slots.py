"""Slots: how many jobs run on this machine at once. A slot is a locked file that runner and trainer hold open.

The system lets go of it when the last of them is gone, however they end; nobody has to count.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

from outcrop.core import settings


class Slot(NamedTuple):
    """A slot that this process holds through `descriptor`, which its children may inherit."""

    device: str
    number: int
    descriptor: int

    def release(self) -> None:
        """Let go of it here; it stays taken while a child holds it."""
        os.close(self.descriptor)


def graphics_processors() -> int:
    """The NVIDIA devices of this machine."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def preferred_device() -> str:
    """Where a job runs if nobody says: "gpu" where there is one, else "cpu"."""
    return "gpu" if graphics_processors() else "cpu"


def capacity() -> dict[str, int]:
    """Slots of this machine by device."""
    return {"cpu": settings.processor_jobs(), "gpu": graphics_processors()}


def take(device: str, count: int) -> Slot | None:
    """A free slot among `count` of this device, or None where all are taken."""
    folder = settings.home() / "slots"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for number in range(count):
        descriptor = os.open(folder / f"{device}-{number}", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return Slot(device, number, descriptor)
    return None
