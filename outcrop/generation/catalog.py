"""The engines by name: each implements core.engines.Engine, and is made without arguments for its defaults."""

from __future__ import annotations

from collections.abc import Callable

from outcrop.core.catalog import Catalog
from outcrop.core.engines import Engine

ENGINES: Catalog[Callable[[], Engine]] = Catalog(
    "engine",
    {
        "embedded": "outcrop.generation.serving:ServingEngine",
        "vllm": "outcrop.generation.vllm.engine:VllmEngine",
    },
)
