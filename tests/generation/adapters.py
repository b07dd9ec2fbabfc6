"""Adapter folders with random weights, beside the tiny base model they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from outcrop.core.engines import AdapterRef
from outcrop.models.folder import find_model
from outcrop.models.lora import LoraLinear, LoraShape, attach, save_adapter


def write_adapter(folder: Path, base: Path, model: Any, *, seed: int, rank: int = 4, size: float = 0.3) -> AdapterRef:
    """An adapter on all layers of `model`, which lies in `base`; with size 0 it changes nothing."""
    shape = LoraShape(rank, alpha=2.0 * rank)
    attach(model, shape, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            state[f"{name}.lora_A"] = module.lora_A
            state[f"{name}.lora_B"] = size * torch.randn(module.lora_B.shape, generator=generator)
    folder.mkdir()
    save_adapter(model, folder, str(base), shape, state)
    return AdapterRef(str(folder), find_model(str(folder)).digest())
