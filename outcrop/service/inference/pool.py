"""Models in memory: loaded when they are first asked, adapters on their shared base, given up when room is needed."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from outcrop.core import settings
from outcrop.core.catalog import Catalog
from outcrop.core.engines import AdapterRef, Engine, Precision
from outcrop.core.errors import ModelError, NotReady, Unavailable
from outcrop.models.folder import FileStates, ModelFolder
from outcrop.models.rendering import Renderer
from outcrop.service.inference.folders import Folders, KnownFolder, engine_folder, state_of
from outcrop.service.inference.gate import Gate
from outcrop.service.inference.memory import footprint

HERE = "outcrop.service.inference"
ENGINES: Catalog[Callable[..., Any]] = Catalog(
    "engine", {"embedded": f"{HERE}.embedded:open_engine", "vllm": f"{HERE}.vllm:open_engine"}
)
RENDERERS: Catalog[Callable[..., Any]] = Catalog("renderer", {"own": f"{HERE}.embedded:open_renderer"})

MOST_ADAPTERS = 64
MOST_RENDERERS = 64
GIB = 2**30


@dataclass(frozen=True)
class PoolLimits:
    """memory_bytes: of all models; slots: answers at once of each; patience_s: how long a request waits for a model.

    In fp32, answers are those of `outcrop generate`, and do not depend on who else is answered. engine vllm: one model
    at a time, which takes all the memory that there is for models, as vLLM does.
    """

    memory_bytes: int = field(default_factory=settings.model_memory)
    slots: int = 32
    patience_s: float = 20.0
    precision: Precision = "float32"
    engine: str = "embedded"


@dataclass(eq=False)
class LoadedEngine:
    """An engine in memory. users: requests that hold it; reserved: names of reservations; adapters: by digest."""

    engine: Engine
    gate: Gate
    bytes: int
    users: int = 0
    used_at: float = 0.0
    reserved: set[str] = field(default_factory=set)
    adapters: dict[str, AdapterUse] = field(default_factory=dict)


@dataclass(eq=False)
class AdapterUse:
    """Requests that hold an adapter, and when the last one ended."""

    users: int = 0
    used_at: float = 0.0


class Model(NamedTuple):
    """A model that answers: its engine, the adapter in it, its folder, and how it is asked."""

    loaded: LoadedEngine
    adapter: str | None
    folder: ModelFolder
    renderer: Renderer


Key = tuple[Any, FileStates]


class Pool:
    """The models of a server. All methods belong to one event loop."""

    def __init__(self, limits: PoolLimits | None = None, open_engine: Any = None) -> None:
        self.limits = limits or PoolLimits()
        self._open_engine, self._folders = open_engine, Folders()
        self._engines: dict[Key, LoadedEngine] = {}
        self._renderers: dict[str, tuple[FileStates, Renderer]] = {}
        self._tasks: dict[Any, asyncio.Task[Any]] = {}
        self._alone: set[str] = set()
        self._loading, self._closed = asyncio.Lock(), False

    @property
    def engines(self) -> list[LoadedEngine]:
        """Those in memory."""
        return list(self._engines.values())

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Model]:
        """The model of that name, which stays in memory while the block runs.

        Raises NotReady while it is being loaded, Unavailable where there is no room, ModelError where it cannot be.
        """
        if self._closed:
            raise Unavailable("The server is stopping.", "Ask again later.")
        known = await self._folders.find(name)
        renderer = await self.renderer(name)
        while True:
            loaded, adapter = await self._ready(known)
            # Either may have been given up in the moment between being there and being taken.
            if loaded in self._engines.values() and (adapter is None or adapter in loaded.adapters):
                break
        held: list[LoadedEngine | AdapterUse] = [loaded, *([loaded.adapters[adapter]] if adapter else [])]
        for each in held:
            each.users += 1
        try:
            yield Model(loaded, adapter, known.folder, renderer)
        finally:
            for each in held:
                each.users -= 1
                each.used_at = time.monotonic()

    async def folder(self, name: str) -> ModelFolder:
        """The folder of a model. Raises ModelError."""
        return (await self._folders.find(name)).folder

    async def known(self, name: str) -> KnownFolder:
        """The folder of a model, and its digest. Raises ModelError."""
        return await self._folders.find(name)

    async def renderer(self, name: str) -> Renderer:
        """How a model is asked, without its weights. Raises ModelError."""
        known = await self._folders.find(name)
        while True:
            state, renderer = self._renderers.get(name, (None, None))
            if renderer is not None and state == known.state:
                return renderer
            await self._once(("renderer", name, known.state), partial(self._make_renderer, name, known))

    async def drain(self, deadline_s: float) -> bool:
        """Take no more requests and wait for those there are; whether all were finished in time."""
        self._closed = True
        end = time.monotonic() + deadline_s
        while any(loaded.users for loaded in self.engines) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        return not any(loaded.users for loaded in self.engines)

    async def close(self) -> None:
        """Free all models, failing what still runs."""
        self._closed = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for key in list(self._engines):
            await self._engines.pop(key).engine.close()

    async def _ready(self, known: KnownFolder) -> tuple[LoadedEngine, str | None]:
        """The engine of a model, and its adapter there. An adapter that its base cannot take is served on its own."""
        if known.folder.base is not None and known.digest not in self._alone:
            loaded = await self._engine(engine_folder(known))
            try:
                await self._adapter(loaded, known)
            except ModelError:
                self._alone.add(known.digest)
            else:
                return loaded, known.digest
        return await self._engine(known.folder), None

    async def _engine(self, folder: ModelFolder) -> LoadedEngine:
        key = state_of(folder)
        while (loaded := self._engines.get(key)) is None:
            await self._once(key, partial(self._load, key, folder))
        return loaded

    async def _adapter(self, loaded: LoadedEngine, known: KnownFolder) -> None:
        while known.digest not in loaded.adapters:
            await self._once((loaded, known.digest), partial(self._add_adapter, loaded, known))

    async def _add_adapter(self, loaded: LoadedEngine, known: KnownFolder) -> None:
        await loaded.engine.add_adapter(AdapterRef(str(known.folder.path), known.digest))
        loaded.adapters[known.digest] = AdapterUse(used_at=time.monotonic())
        while len(loaded.adapters) > MOST_ADAPTERS:
            idle = [each for each, use in loaded.adapters.items() if not use.users and each != known.digest]
            if not idle:
                return
            oldest = min(idle, key=lambda digest: loaded.adapters[digest].used_at)
            del loaded.adapters[oldest]
            await self._once((loaded, oldest), partial(loaded.engine.remove_adapter, oldest))

    async def _load(self, key: Key, folder: ModelFolder) -> None:
        needed = await self._needed(folder)
        async with self._loading:
            await self._make_room(folder, needed)
            opening = self._open_engine or await asyncio.to_thread(ENGINES.load, self.limits.engine)
            engine: Engine = await opening(folder.name, self.limits.precision, self.limits.slots)
            self._engines[key] = LoadedEngine(engine, Gate(self.limits.slots), needed, used_at=time.monotonic())

    async def _needed(self, folder: ModelFolder) -> int:
        """Bytes that a model takes."""
        if self.limits.engine != "embedded":
            return self.limits.memory_bytes
        return await asyncio.to_thread(footprint, folder, self.limits.precision)

    async def _make_room(self, folder: ModelFolder, needed: int) -> None:
        budget = self.limits.memory_bytes
        if needed > budget:
            raise ModelError(
                f"The model needs {needed / GIB:.1f} GiB of memory; models may take {budget / GIB:.1f} GiB.",
                "Give them more: OUTCROP_MODEL_MEMORY.",
                folder.name,
            )
        while sum(loaded.bytes for loaded in self.engines) + needed > budget:
            idle = [key for key, loaded in self._engines.items() if not loaded.users and not loaded.reserved]
            if not idle:
                raise Unavailable("The memory is taken by models that are in use or reserved.", "Ask again later.")
            oldest = min(idle, key=lambda key: self._engines[key].used_at)
            await self._engines.pop(oldest).engine.close()
            gc.collect()

    async def _make_renderer(self, name: str, known: KnownFolder) -> None:
        open_renderer = await asyncio.to_thread(RENDERERS.load, "own")
        self._renderers[name] = known.state, await asyncio.to_thread(open_renderer, known.folder)
        while len(self._renderers) > MOST_RENDERERS:
            del self._renderers[next(iter(self._renderers))]

    async def _once(self, key: Any, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """What many requests wait for is done once, and goes on when they leave. Raises NotReady when it takes long."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(work())
            task.add_done_callback(partial(self._done, key))
        done, _ = await asyncio.wait([task], timeout=self.limits.patience_s)
        if not done:
            raise NotReady("The model is being loaded.", "Please try again in a few seconds.")
        task.result()

    def _done(self, key: Any, task: asyncio.Task[Any]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # those who still wait raise it; nobody may be left who does
