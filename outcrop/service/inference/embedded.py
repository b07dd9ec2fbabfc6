"""Engines and renderers of this process. Here torch is imported, when the first model is wanted."""

from __future__ import annotations

import torch

from outcrop.core import settings
from outcrop.core.engines import Engine, ModelRef, Precision
from outcrop.generation.scheduling import Capacity
from outcrop.generation.serving import ServingEngine
from outcrop.models.folder import ModelFolder
from outcrop.models.loading import load_renderer, open_tokenizer
from outcrop.models.rendering import Renderer


async def open_engine(name: str, precision: Precision, slots: int) -> Engine:
    """A loaded engine with so many answers at once. Raises ModelError."""
    torch.set_num_threads(settings.threads())
    engine = ServingEngine(Capacity(slots=slots))
    await engine.load(ModelRef(name, precision))
    return engine


def open_renderer(folder: ModelFolder) -> Renderer:
    """The renderer of a model, without its weights, with a tokenizer of its own: they are for one thread at a time."""
    return load_renderer(folder, open_tokenizer(folder))
