"""Turns: never more than there are places, fair among callers, nothing lost when somebody leaves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from outcrop.core.errors import Unavailable
from outcrop.service.inference.gate import Gate, Lane


def _run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Visits:
    """Callers at a gate, in the order in which they got their places; each stays until it is let go."""

    def __init__(self, gate: Gate) -> None:
        self.gate, self.order = gate, list[str]()
        self.leave: dict[asyncio.Task[None], asyncio.Event] = {}

    def come(self, caller: str, reservation: str = "") -> asyncio.Task[None]:
        leave = asyncio.Event()

        async def visit() -> None:
            async with self.gate.turn(caller, reservation):
                self.order.append(caller)
                await leave.wait()

        task = asyncio.create_task(visit())
        self.leave[task] = leave
        return task


def test_a_caller_with_many_requests_waits_behind_its_own() -> None:
    async def test() -> None:
        visits = Visits(Gate(1))
        tasks = [visits.come(name) for name in "aaaaabc"]
        await _settle()
        for leave in visits.leave.values():
            leave.set()
        await asyncio.gather(*tasks)
        assert "".join(visits.order) == "aabcaaa"

    _run(test)


def test_too_many_are_refused_and_the_others_are_not() -> None:
    async def test() -> None:
        visits = Visits(Gate(2, most_waiting=1))
        tasks = [visits.come(name) for name in "abcd"]
        await _settle()
        with pytest.raises(Unavailable, match="Too many requests: 2 are answered and 1 wait"):
            await tasks[3]
        for leave in visits.leave.values():
            leave.set()
        await asyncio.gather(*tasks[:3])
        assert visits.order == ["a", "b", "c"]

    _run(test)


def test_those_who_leave_take_no_place_with_them() -> None:
    async def test() -> None:
        stream = random.Random(0)
        gate = Gate(3)
        visits = Visits(gate)
        for _ in range(40):
            tasks = [visits.come(stream.choice("abc")) for _ in range(8)]
            for task in tasks:
                if stream.random() < 0.5:
                    await asyncio.sleep(0)
                if stream.random() < 0.5:
                    task.cancel()
                else:
                    visits.leave[task].set()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (gate.lanes[""].running, gate.lanes[""].waiting) == (0, 0)

    _run(test)


def test_a_place_given_in_the_moment_of_leaving_goes_on_to_the_next() -> None:
    async def test() -> None:
        lane = Lane(1, 10)
        await lane.enter("a")
        second, third = asyncio.create_task(lane.enter("b")), asyncio.create_task(lane.enter("c"))
        await _settle()
        lane.leave()  # gives the place to b, which has not woken up yet
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await third
        assert (lane.running, lane.waiting) == (1, 0)

    _run(test)


def test_reserved_places_are_kept_for_those_who_reserved_them() -> None:
    async def test() -> None:
        gate = Gate(4)
        gate.reserve("mine", 3)
        visits = Visits(gate)
        tasks = [visits.come("other"), visits.come("other"), *(visits.come("me", "mine") for _ in range(3))]
        await _settle()
        assert visits.order == ["other", "me", "me", "me"]
        with pytest.raises(Unavailable, match="1 of 4 are not reserved"):
            gate.reserve("more", 2)
        gate.release("mine")
        await _settle()
        assert visits.order[-1] == "other"
        for leave in visits.leave.values():
            leave.set()
        await asyncio.gather(*tasks)
        assert gate.free == 4

    _run(test)


def test_where_all_is_reserved_others_are_refused_at_once() -> None:
    async def test() -> None:
        gate = Gate(2)
        gate.reserve("all", 2)
        with pytest.raises(Unavailable, match="reserved"):
            async with gate.turn("other"):
                pass

    _run(test)


def test_a_reservation_has_a_queue_of_its_own() -> None:
    async def test() -> None:
        gate = Gate(4)
        gate.reserve("mine", 1)
        visits = Visits(gate)
        tasks = [visits.come("me", "mine") for _ in range(6)]
        await _settle()
        with pytest.raises(Unavailable, match="Too many requests"):
            await tasks[5]
        for leave in visits.leave.values():
            leave.set()
        await asyncio.gather(*tasks[:5])

    _run(test)
