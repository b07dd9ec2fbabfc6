"""From a model in memory to a plain Hugging Face folder, or a PEFT adapter folder, with outcrop.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from outcrop.models.folder import write_card
from outcrop.models.loading import LoadedModel


def save_weights(loaded: LoadedModel, state: dict[str, Tensor], folder: Path, dtype: torch.dtype) -> None:
    """Write config, tokenizer and weights: `state` (fp32, by parameter name) in place of the model's own values."""
    model: Any = loaded.model
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if model.config.tie_word_embeddings else set()
    weights = {name: state.get(name, parameter).detach() for name, parameter in model.named_parameters()}
    weights |= {name: buffer for name, buffer in model.named_buffers() if name in model.state_dict()}
    stored = {name: tensor.to(dtype).cpu().contiguous() for name, tensor in weights.items() if name not in tied}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.dtype = dtype
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    save_tokenizer(loaded, folder)


def save_tokenizer(loaded: LoadedModel, folder: Path) -> None:
    """Write the tokenizer's files."""
    loaded.tokenizer.save_pretrained(folder)


def describe_rendering(loaded: LoadedModel) -> dict[str, Any]:
    """What outcrop.json keeps of the renderer: its spec, with the template made explicit, and the stop ids."""
    return {"separator": loaded.renderer.spec.separator, "chat_template": loaded.renderer.chat_template}


def save_card(folder: Path, loaded: LoadedModel, card: dict[str, Any]) -> None:
    """Write outcrop.json with what every model folder has, and `card`."""
    write_card(folder, {"rendering": describe_rendering(loaded), "stop_ids": list(loaded.renderer.stop_ids), **card})
