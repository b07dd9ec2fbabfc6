"""Models that a vLLM of its own serves: started for one model, ended when another needs the room."""

from __future__ import annotations

from outcrop.core.engines import Engine, ModelRef, Precision
from outcrop.generation.vllm.engine import VllmEngine, VllmOptions


async def open_engine(name: str, precision: Precision, slots: int) -> Engine:
    """A vLLM that has the model, with so many answers at once. Raises ModelError, JobFailed where it does not start."""
    engine = VllmEngine(VllmOptions(slots=slots))
    await engine.load(ModelRef(name, precision))
    return engine
