"""The embedded engine for many callers at once: a thread that steps, and an asynchronous door in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from outcrop.core.completions import CompletionRequest, Sampling, Score, ScoreRequest
from outcrop.core.engines import AdapterRef, Capability, EngineStats, Health, ModelRef, TokenEvent
from outcrop.core.errors import JobFailed, OutcropError, Unavailable, UsageError
from outcrop.generation.answers import Answer, Task
from outcrop.generation.cascade import engine_of
from outcrop.generation.embedded import EmbeddedEngine
from outcrop.generation.scheduling import Capacity
from outcrop.models.loading import default_device, open_model
from outcrop.models.precision import choose

MOST_WAITING = 256
IDLE_WAIT_S = 0.2
"""An idle engine looks up this often, so that its age tells a hung one from one without work."""
OLDEST_TICK_S = 60.0
CAPABILITIES: frozenset[Capability] = frozenset(
    ["logprobs", "top_logprobs", "logit_bias", "repetition_penalty", "min_p", "constraint", "mixed_adapters", "score",
     "prefix_cache"]
)  # fmt: skip


class ServingEngine:
    """Implements core.engines.Engine. most_waiting: requests beyond those running; more are refused at once."""

    def __init__(self, capacity: Capacity | None = None, *, most_waiting: int = MOST_WAITING) -> None:
        self._capacity, self._most_waiting = capacity or Capacity(), most_waiting
        self._engine: EmbeddedEngine | None = None
        self._thread: threading.Thread | None = None
        self._work = threading.Event()
        self._tasks: set[Task] = set()
        self._stopping = self._closed = False
        self._ticked = self._loaded = time.monotonic()
        self._failure: str = ""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All that requests can express."""
        return CAPABILITIES

    async def load(self, model: ModelRef) -> None:
        """Load, warm up with one token, and begin to serve. Raises ModelError; UsageError if a model is loaded."""
        if self._thread is not None:
            raise UsageError("The engine has a model already.", "Make another engine.")
        self._engine = await asyncio.to_thread(open_engine, model, self._capacity)
        self._thread = threading.Thread(target=self._loop, name="outcrop-engine", daemon=True)
        self._thread.start()
        await self._probe()

    async def add_adapter(self, adapter: AdapterRef) -> None:
        """Make an adapter usable; raises as EmbeddedEngine.add_adapter does."""
        await asyncio.to_thread(self._open_engine().add_adapter, adapter)

    async def remove_adapter(self, digest: str) -> None:
        """Free an adapter once no request uses it; raises as EmbeddedEngine.remove_adapter does."""
        await asyncio.to_thread(self._open_engine().remove_adapter, digest)

    async def generate(self, request: CompletionRequest) -> AsyncIterator[TokenEvent]:
        """The events of a request's answers; closing the iterator cancels it."""
        tasks = self._admitted(self._open_engine().answers(request, "request", live=True))
        open_answers = len(tasks)
        async with _Following(self, tasks) as news:
            while open_answers:
                event = await news()
                yield event
                open_answers -= event.finish_reason is not None

    async def score(self, request: ScoreRequest) -> list[Score]:
        """Log-likelihoods of a request's candidates, in order."""
        task = self._open_engine().scoring(request, "request")
        async with _Following(self, self._admitted([task])) as news:
            await news()
        return task.scores()

    async def stats(self) -> EngineStats:
        """What the engine is doing; rates are from the time of loading on."""
        scheduler = self._open_engine().scheduler
        return EngineStats(
            running=scheduler.working,
            waiting=max(0, len(self._tasks) - scheduler.working),
            slots=scheduler.capacity.slots,
            used_tokens=scheduler.used_tokens,
            budget_tokens=scheduler.capacity.batch_tokens,
            cached_tokens=scheduler.prefixes.tokens,
            computed_tokens=scheduler.computed_tokens,
            prefix_tokens=scheduler.prefix_tokens,
            generated_tokens=scheduler.generated_tokens,
            tokens_per_s=scheduler.generated_tokens / max(1e-9, time.monotonic() - self._loaded),
            adapters=scheduler.adapters.digests,
        )

    async def health(self, deadline_s: float) -> Health:
        """Liveness by the age of the last turn, readiness by one token on the way that requests take."""
        age = time.monotonic() - self._ticked
        alive = self._thread is not None and self._thread.is_alive() and age < OLDEST_TICK_S
        if not alive:
            return Health(False, False, self._failure or f"the loop has not turned for {age:.0f} s")
        try:
            await asyncio.wait_for(self._probe(), deadline_s)
        except TimeoutError:
            return Health(True, False, f"no token within {deadline_s:g} s")
        except OutcropError as error:
            return Health(True, False, str(error))
        return Health(True, True)

    async def drain(self, deadline_s: float) -> bool:
        """Take no more requests and finish those there are; whether all were finished in time."""
        self._stopping = True
        end = time.monotonic() + deadline_s
        while self._tasks and time.monotonic() < end:
            await asyncio.sleep(0.01)
        return not self._tasks

    async def close(self) -> None:
        """Stop, failing what still runs, and free the model."""
        self._stopping = self._closed = True
        self._work.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        for task in list(self._tasks):
            task.error = Unavailable("The engine was closed.", "Ask another one.")
            task.notify()
        self._engine = None

    def begin(self, task: Task) -> None:
        """Hand a task to the thread."""
        self._tasks.add(task)
        self._open_engine().scheduler.submit(task)
        self._work.set()

    def end(self, task: Task) -> None:
        """Cancel a task that is not finished; its slot is free from the next step on."""
        if not task.finished:
            task.cancelled = True
            self._work.set()
        self._tasks.discard(task)

    def _open_engine(self) -> EmbeddedEngine:
        if self._engine is None or self._closed:
            raise Unavailable("The engine has no model.", "Load one first." if not self._closed else "It was closed.")
        return self._engine

    def _admitted(self, tasks: Sequence[Any]) -> Sequence[Any]:
        """The tasks, if they may wait. Raises Unavailable."""
        if self._stopping:
            raise Unavailable("The engine is stopping.", "Ask another one.")
        bound = self._most_waiting + self._capacity.slots
        if len(self._tasks) + len(tasks) > bound:
            raise Unavailable(f"{len(self._tasks)} answers are running or waiting; at most {bound} may.", "Ask later.")
        return tasks

    async def _probe(self) -> None:
        request = CompletionRequest((0,), Sampling(max_new_tokens=1))
        [task] = self._open_engine().answers(request, "health")
        async with _Following(self, [task]) as news:
            await news()

    def _loop(self) -> None:
        engine = self._open_engine()
        while not self._closed:
            self._ticked = time.monotonic()
            if engine.scheduler.idle:
                self._work.wait(IDLE_WAIT_S)
                self._work.clear()
                continue
            try:
                engine.step()
            except Exception as error:  # noqa: BLE001  the rows have failed with it; the next ones may not
                self._failure = f"{type(error).__name__}: {error}"


class _News(NamedTuple):
    """What the thread tells the event loop: an event, or that a task without events is finished."""

    event: TokenEvent | None
    error: OutcropError | None


class _Following:
    """Tasks that run while the block does. Entering gives a function that waits for the next event."""

    def __init__(self, engine: ServingEngine, tasks: Sequence[Task]) -> None:
        self._engine, self._tasks = engine, tasks
        self._queue: asyncio.Queue[_News] = asyncio.Queue()

    async def __aenter__(self) -> Callable[[], Any]:
        loop = asyncio.get_running_loop()
        for index, task in enumerate(self._tasks):
            task.on_change = partial(self._tell, loop, index, task)
            self._engine.begin(task)
        return self._next

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            self._engine.end(task)

    async def _next(self) -> TokenEvent | None:
        news = await self._queue.get()
        if news.error is not None:
            raise news.error
        return news.event

    def _tell(self, loop: asyncio.AbstractEventLoop, index: int, task: Task) -> None:
        """In the thread: events are made here, where nothing changes the answer meanwhile."""
        error = task.error
        if error is None and task.cancelled:
            error = JobFailed("The request was cancelled.")
        event = task.event(index) if isinstance(task, Answer) and error is None else None
        with contextlib.suppress(RuntimeError):  # the caller's loop is gone, and with it the caller
            loop.call_soon_threadsafe(self._queue.put_nowait, _News(event, error))


def open_engine(model: ModelRef, capacity: Capacity) -> EmbeddedEngine:
    """Load in fp32, and round once if bf16 is faster by measurement at this model's width. Raises ModelError."""
    loaded = open_model(model.name)
    config = loaded.model.config.get_text_config(decoder=True)
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    choice = choose(model.precision, width=config.hidden_size, inner=inner, rows=64, device=default_device())
    for part in (loaded, loaded.student):
        if part is None or part.folder.root.is_int8:
            continue
        for parameter in part.model.parameters():  # not buffers: rounded angles are other positions
            parameter.data = parameter.data.to(choice.dtype)
    return engine_of(loaded, capacity, base_digest=loaded.folder.digest())
