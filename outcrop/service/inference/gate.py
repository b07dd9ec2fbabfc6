"""Turns at an engine: so many at once, fairly shared among callers, with places that are reserved for some."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from outcrop.core.errors import Unavailable

MOST_WAITING = 256
WAITING_PER_PLACE = 4
"""So many requests may wait for each reserved place."""


class Lane:
    """Places for requests of one kind. Callers take turns: a caller with many requests waits behind its own."""

    def __init__(self, width: int, most_waiting: int) -> None:
        self.width, self.most_waiting, self.running = width, most_waiting, 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._waiting.values()))

    async def enter(self, caller: str) -> None:
        """Wait for a place. Raises Unavailable where none will come, or too many wait."""
        if self.running < self.width and not self._waiting:
            self.running += 1
            return
        if self.width == 0:
            raise Unavailable("All of this model's throughput on this machine is reserved.", "Use a reservation.")
        if self.waiting >= self.most_waiting:
            raise Unavailable(
                f"Too many requests: {self.running} are answered and {self.waiting} wait.", "Please try again later."
            )
        await self._wait(caller)

    def leave(self) -> None:
        """Give a place back."""
        self.running -= 1
        self.wake()

    def wake(self) -> None:
        """Give free places to those who wait, one caller after the other."""
        while self._waiting and self.running < self.width:
            caller, queue = self._waiting.popitem(last=False)
            place = queue.popleft()
            if not place.cancelled():
                place.set_result(None)
                self.running += 1
            if queue:
                self._waiting[caller] = queue

    async def _wait(self, caller: str) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # the place was given in the moment of leaving
                self.leave()
            else:
                self._forget(caller, place)
            raise

    def _forget(self, caller: str, place: asyncio.Future[None]) -> None:
        queue = self._waiting.get(caller)
        if queue and place in queue:
            queue.remove(place)
        if queue is not None and not queue:
            del self._waiting[caller]


class Gate:
    """The places at one engine. places: in all."""

    def __init__(self, places: int, most_waiting: int = MOST_WAITING) -> None:
        self._places = places
        self._open = Lane(places, most_waiting)
        self._reserved: dict[str, Lane] = {}

    @property
    def lanes(self) -> dict[str, Lane]:
        """The open lane under "", reserved ones under their names."""
        return {"": self._open, **self._reserved}

    @property
    def free(self) -> int:
        """Places that no reservation has."""
        return self._places - sum(lane.width for lane in self._reserved.values())

    def reserve(self, name: str, places: int) -> None:
        """Set places aside, at once for those who come, and for others as they leave. Raises Unavailable if too few."""
        if name not in self._reserved and places > self.free:
            raise Unavailable(
                f"{places} places at this model are asked for; {self.free} of {self._places} are not reserved.",
                "Give up another reservation first.",
            )
        self._reserved.setdefault(name, Lane(places, places * WAITING_PER_PLACE))
        self._open.width = self.free

    def release(self, name: str) -> None:
        """Give a reservation up; those in it finish."""
        self._reserved.pop(name, None)
        self._open.width = self.free
        self._open.wake()

    @asynccontextmanager
    async def turn(self, caller: str, reservation: str = "") -> AsyncIterator[None]:
        """A place while the block runs. Raises Unavailable where none will come, or too many wait."""
        lane = self._reserved.get(reservation, self._open)
        await lane.enter(caller)
        try:
            yield
        finally:
            lane.leave()
