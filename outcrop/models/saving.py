"""From a model in memory to a plain Hugging Face folder, or a PEFT adapter folder, with outcrop.json."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from outcrop.models.folder import CONFIG, GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG, write_card
from outcrop.models.loading import LoadedModel

MODEL_FILES = (CONFIG, GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG, "tokenizer.model", "special_tokens_map.json",
               "chat_template.jinja", "model.safetensors.index.json")  # fmt: skip
"""What belongs to a model beside its weights."""


def save_weights(loaded: LoadedModel, state: dict[str, Tensor], folder: Path, dtype: torch.dtype) -> None:
    """Write config, tokenizer and weights: `state` (fp32, by parameter name) in place of the model's own values."""
    model: Any = loaded.model
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if model.config.tie_word_embeddings else set()
    weights = {name: state.get(name, parameter).detach() for name, parameter in model.named_parameters()}
    weights |= {name: buffer for name, buffer in model.named_buffers() if name in model.state_dict()}
    stored = {name: _stored(tensor, dtype) for name, tensor in weights.items() if name not in tied}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = copy.deepcopy(model.config)
    config.dtype, config.architectures = dtype, [type(model).__name__]
    config.save_pretrained(folder)
    generation = copy.deepcopy(model.generation_config)
    generation.eos_token_id = list(loaded.renderer.stop_ids)
    generation.to_json_file(folder / GENERATION_CONFIG, keys_to_pop=["compile_config"])  # unchecked: hubs hold odd ones
    save_tokenizer(loaded, folder)


def copy_model(loaded: LoadedModel, folder: Path) -> None:
    """Write the model as it was loaded, in the dtype of its files: an adapter merged, a whole model file by file."""
    if loaded.folder.base is not None:
        told = loaded.folder.root.read(CONFIG)
        save_weights(loaded, {}, folder, getattr(torch, str(told.get("dtype") or told.get("torch_dtype") or "float32")))
        save_tokenizer(loaded, folder)
        return
    for path in (*loaded.folder.weights, *(loaded.folder.path / name for name in MODEL_FILES)):
        if path.exists():
            shutil.copyfile(path, folder / path.name)


def save_tokenizer(loaded: LoadedModel, folder: Path) -> None:
    """Write the tokenizer's files, with the chat template of the renderer: other servers then render alike."""
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.chat_template = loaded.renderer.chat_template
    tokenizer.save_pretrained(folder)


def save_card(folder: Path, loaded: LoadedModel, card: dict[str, Any]) -> None:
    """Write outcrop.json: the rendering, with its chat template made explicit, the stop ids, and `card`."""
    renderer = loaded.renderer
    rendering: dict[str, Any] = {"separator": renderer.spec.separator, "chat_template": renderer.chat_template}
    if renderer.spec.label_tokens:
        rendering["label_tokens"] = renderer.spec.label_tokens
    if renderer.spec.phrases:
        rendering["phrases"] = renderer.spec.phrases
    write_card(folder, {"rendering": rendering, "stop_ids": list(renderer.stop_ids), **card})


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return (tensor.to(dtype) if tensor.is_floating_point() else tensor).cpu().contiguous()
