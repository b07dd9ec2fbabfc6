"""Running engines of every kind, to be asked the same: embedded, vLLM's client on a stand-in, and vLLM where it is."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tests.support
from outcrop.core import settings
from outcrop.core.completions import CompletionRequest
from outcrop.core.engines import Engine, ModelRef, TokenEvent
from outcrop.generation.scheduling import Capacity
from outcrop.generation.serving import ServingEngine
from outcrop.generation.vllm.engine import VllmEngine, VllmOptions
from tests.support.tiny import tiny_model

SLOTS, WAITING, RANK = 4, 8, 16
WAIT_S = 600.0
SHAPE = {"hidden_size": 128, "intermediate_size": 128}
"""Heads of 32: vLLM has none smaller on a CPU."""
STANDIN = Path(tests.support.__path__[0]) / "vllm_standin"
REAL_VLLM = pytest.param("vllm", marks=[pytest.mark.contract, pytest.mark.slow, pytest.mark.timeout(1200)])
VLLM_KINDS = [pytest.param("standin", marks=pytest.mark.contract), REAL_VLLM]


@dataclass(frozen=True)
class Running:
    """An engine that has a model, and the event loop that it lives on."""

    engine: Engine
    runner: asyncio.Runner

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Its result; work that hangs fails."""
        return self.runner.run(asyncio.wait_for(work, WAIT_S))

    def events(self, request: CompletionRequest) -> list[TokenEvent]:
        """All events of a request."""
        return self.wait(all_events(self.engine, request))


async def all_events(engine: Engine, request: CompletionRequest) -> list[TokenEvent]:
    """All events of a request."""
    return [event async for event in engine.generate(request)]


@contextmanager
def running(kind: str, base: str, folder: Path) -> Iterator[Running]:
    """An engine of a kind, with the model `base` in fp32; skips where vLLM is not installed."""
    with asyncio.Runner() as runner:
        found = Running(make(kind, folder), runner)
        found.wait(found.engine.load(ModelRef(base, "float32")))
        try:
            yield found
        finally:
            found.wait(found.engine.close())


def make(kind: str, folder: Path) -> Engine:
    """An engine without a model."""
    if kind == "embedded":
        return ServingEngine(Capacity(slots=SLOTS), most_waiting=WAITING)
    if kind == "standin":
        return VllmEngine(VllmOptions(standin(folder), SLOTS, WAITING, adapters=2, rank=RANK))
    _prepare_vllm()
    return VllmEngine(VllmOptions(None, SLOTS, WAITING, adapters=2, rank=RANK, arguments=("--enforce-eager",)))


def name_vllm(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have OUTCROP_VLLM_PYTHON name the stand-in, or leave it where it names vLLM; skips where it does not."""
    if kind == "standin":
        monkeypatch.setenv("OUTCROP_VLLM_PYTHON", standin(folder))
    else:
        _prepare_vllm()


def _prepare_vllm() -> None:
    """Little memory and one thread are enough for tiny models."""
    if not settings.vllm_python():
        pytest.skip("OUTCROP_VLLM_PYTHON names no environment with vLLM")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")


def standin(folder: Path) -> str:
    """A program that is a Python with the stand-in for vLLM."""
    script = folder / "python"
    paths = os.pathsep.join([str(STANDIN), *filter(None, sys.path)])
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{paths}" exec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    return str(script)


def model() -> Any:
    """The weights that all of them serve."""
    return tiny_model(**SHAPE)


async def settled(engine: Engine) -> None:
    """Return once nothing runs or waits."""
    while (await engine.stats()).running or (await engine.stats()).waiting:
        await asyncio.sleep(0.01)


async def first_events(stream: AsyncIterator[TokenEvent], count: int) -> None:
    """Take some events."""
    for _ in range(count):
        await anext(stream)
