"""What vLLM serves, known without its weights: tokenizer, limits, layers; and folders whose content never changes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from outcrop.core.engines import AdapterRef, ModelRef
from outcrop.core.errors import ModelError
from outcrop.core.files import staged_folder
from outcrop.generation.limits import Limits
from outcrop.models.folder import ADAPTER_CONFIG, CONFIG, ModelFolder, find_model
from outcrop.models.loading import load_model, load_structure, load_tokenizer
from outcrop.models.lora import ADAPTER_WEIGHTS, LayerSize, layer_sizes, read_adapter
from outcrop.models.plain_weights import require_floats
from outcrop.models.saving import save_weights

RANKS = (8, 16, 32, 64, 128, 256)
"""What vLLM can be started for."""


@dataclass(frozen=True)
class ServedModel:
    """A model folder that vLLM reads, with what requests and adapters are checked against."""

    path: Path
    digest: str
    tokenizer: Any
    limits: Limits
    layers: dict[str, LayerSize]

    @classmethod
    def prepare(cls, model: ModelRef, scratch: Path) -> ServedModel:
        """Find a model; an adapter folder is merged into a folder under `scratch`. Raises ModelError."""
        folder = find_model(model.name)
        require_floats(folder, "vLLM")
        rendering = folder.card.get("rendering") or {}
        if rendering.get("label_tokens") or rendering.get("phrases"):
            remedy = "Use our own engine: --runner local or --engine embedded."
            raise ModelError("vLLM does not end at labels or phrases that are tokens.", remedy, model.name)
        structure = load_structure(folder.root)
        path = folder.path.resolve() if folder.base is None else _merged(folder, scratch / "model")
        return cls(path, folder.digest(), load_tokenizer(folder), Limits.of(structure), layer_sizes(structure))

    def publish(self, adapter: AdapterRef, most_ranks: int, shelf: Path) -> Path:
        """A copy of an adapter folder under its digest: vLLM reads it again at any time, and must find the same.

        Raises ModelError for one that is not what its digest says, does not fit, or has too high a rank.
        """
        folder = find_model(adapter.name)
        found = folder.digest()
        if folder.base is None:
            raise ModelError("The folder is a whole model, not an adapter.", "Load it as a model.", adapter.name)
        if found != adapter.digest:
            raise ModelError(f"The adapter's digest is {found}, not {adapter.digest}.", "Name it anew.", adapter.name)
        if folder.base.digest() != self.digest:
            raise ModelError(
                f"The adapter belongs to another base model: {folder.base.name}.", "Load it on its own.", adapter.name
            )
        shape, weights = read_adapter(folder, self.layers)
        if shape.rank > most_ranks:
            raise ModelError(
                f"The adapter's rank is {shape.rank}; vLLM was started for {most_ranks}.",
                "Start it for a higher rank, or serve the adapter folder as a model.",
                adapter.name,
            )
        if not any(bool(torch.any(A)) and bool(torch.any(B)) for A, B in weights.values()):
            raise ModelError("The adapter changes nothing: its output is that of the base.", "Tune it.", adapter.name)
        target = shelf / adapter.digest.replace(":", "-")
        if not target.exists():
            with staged_folder(target) as copy:
                for file in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
                    shutil.copyfile(folder.path / file, copy / file)
        return target


def _merged(folder: ModelFolder, target: Path) -> Path:
    """An adapter folder as a whole model, in the dtype of its base."""
    loaded = load_model(folder.name, device=torch.device("cpu"))
    config = folder.root.read(CONFIG)
    dtype = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"))
    with staged_folder(target) as copy:
        save_weights(loaded, {}, copy, dtype)
    return target
