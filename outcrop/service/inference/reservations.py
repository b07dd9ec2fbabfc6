"""Reserved throughput: places at a model that others cannot take, and the rate that they were measured to give."""

from __future__ import annotations

import asyncio
import random
import time
from typing import NamedTuple

from outcrop.core.completions import CompletionRequest, Sampling
from outcrop.core.errors import UsageError
from outcrop.service.inference.pool import LoadedEngine, Pool

UNITS = 4
"""Model units that one model has on this machine: each is a quarter of its places."""
MEASURED_PROMPT, MEASURED_ANSWER = 48, 24
"""Tokens of the prompts and answers that a rate is measured with."""
MEASURED_IDS = 256


class Rate(NamedTuple):
    """What the places of a reservation gave together on this machine, besides whatever else it did at the time."""

    input_tokens_per_minute: float
    output_tokens_per_minute: float


class _Held(NamedTuple):
    loaded: LoadedEngine
    units: int


class Reservations:
    """Reservations by name, which is their ARN. They end with the process: the first request after it renews them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._held: dict[str, _Held] = {}

    async def hold(self, name: str, model: str, units: int) -> None:
        """Reserve places for so many model units, unless that is done already; give up those at another model.

        Raises UsageError for more units than a model has, Unavailable where others have reserved them, and what the
        pool raises.
        """
        if not 1 <= units <= UNITS:
            raise UsageError(f"{units} model units.", f"Allowed: 1 to {UNITS}, a model's whole throughput here.")
        async with self._pool.use(model) as used:
            held = self._held.get(name)
            if held == (used.loaded, units):
                return
            if held is not None and held.loaded is used.loaded:
                self.release(name)
            used.loaded.gate.reserve(name, max(1, self._pool.limits.slots * units // UNITS))
            self.release(name)
            used.loaded.reserved.add(name)
            self._held[name] = _Held(used.loaded, units)

    async def measure(self, name: str, model: str) -> Rate:
        """The rate that the places of a reservation give now: prompts alone, then answers alone."""
        async with self._pool.use(model) as used:
            gate = used.loaded.gate
            places = gate.lanes[name].width if name in gate.lanes else self._pool.limits.slots
            stream = random.Random(0)
            prompts = [tuple(stream.choices(range(MEASURED_IDS), k=MEASURED_PROMPT)) for _ in range(places)]

            async def asked(ids: tuple[int, ...], tokens: int) -> None:
                async with gate.turn(name, name):
                    request = CompletionRequest(ids, Sampling(max_new_tokens=tokens), adapter=used.adapter)
                    async for _ in used.loaded.engine.generate(request):
                        pass

            began = time.perf_counter()
            await asyncio.gather(*(asked(ids, 1) for ids in prompts))
            read = time.perf_counter()
            await asyncio.gather(*(asked(ids[:1], MEASURED_ANSWER) for ids in prompts))
            written = time.perf_counter()
            return Rate(
                60 * places * MEASURED_PROMPT / (read - began), 60 * places * MEASURED_ANSWER / (written - read)
            )

    def release(self, name: str) -> None:
        """Give a reservation up."""
        held = self._held.pop(name, None)
        if held is not None:
            held.loaded.gate.release(name)
            held.loaded.reserved.discard(name)
