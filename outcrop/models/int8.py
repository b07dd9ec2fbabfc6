"""Weights in int8 with a scale for each output channel: how a folder holds them, and the layers that compute with them.

Shape letters: O output width, or rows of an embedding; I input width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from outcrop.core.errors import ModelError
from outcrop.core.files import write_json
from outcrop.models.folder import CONFIG, INT8, QUANTISATION, SCALE, ModelFolder

WEIGHTS = "model.safetensors"
HIGHEST = 127
"""Values are symmetric: −128 is not used."""


class Quantised(NamedTuple):
    """values_OI in int8 and a scale for each row, whose product stands for a weight."""

    values_OI: Tensor
    scale_O: Tensor

    def floats(self) -> Tensor:
        """The weight that they stand for, in fp32 [O, I]."""
        return self.values_OI.float() * self.scale_O[:, None]


def quantise(weight_OI: Tensor) -> Quantised:
    """The nearest int8 values, the largest of each row at HIGHEST: nothing is off by more than half its row's scale."""
    weight_OI = weight_OI.detach().float()
    scale_O = weight_OI.abs().amax(1) / HIGHEST
    scale_O = torch.where(scale_O > 0, scale_O, torch.ones_like(scale_O))
    return Quantised((weight_OI / scale_O[:, None]).round_().clamp_(-HIGHEST, HIGHEST).to(torch.int8), scale_O)


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8 in memory. Alone it computes with the floats that this stands for; the engine
    multiplies whole numbers (generation/int8_linear.py)."""

    def __init__(self, weight_OI: nn.Parameter, scale_O: Tensor, bias_O: nn.Parameter | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight_OI.shape
        self.weight, self.bias = weight_OI, bias_O
        self.weight_scale: Tensor
        self.register_buffer("weight_scale", scale_O)

    def forward(self, x: Tensor) -> Tensor:
        """[…, I] → […, O]."""
        return F.linear(x, floats_of(self).to(x.dtype), self.bias)


class Int8Embedding(nn.Module):
    """An embedding whose rows are int8 in memory."""

    def __init__(self, weight_OI: nn.Parameter, scale_O: Tensor) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = weight_OI.shape
        self.weight = weight_OI
        self.weight_scale: Tensor
        self.register_buffer("weight_scale", scale_O)

    def forward(self, ids: Tensor) -> Tensor:
        """[…] → […, I]."""
        return F.embedding(ids, self.weight) * self.weight_scale[ids][..., None]


def floats_of(layer: Any) -> Tensor:
    """The weight that a layer computes with, whatever it is stored as."""
    weight: Tensor = layer.weight.detach()
    return weight if weight.is_floating_point() else Quantised(weight, layer.weight_scale).floats()


def quantise_folder(folder: Path) -> None:
    """Put int8 in place of the floats of every matrix in a folder with one file of weights, and name it in its
    configuration, so that no program takes the values for the weights."""
    save_file(as_stored(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    write_json(folder / CONFIG, {**config, QUANTISATION: {"quant_method": INT8}})


def as_stored(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every matrix as int8 with its scale beside it, other tensors as they are, by name."""
    stored = {}
    for name, tensor in state.items():
        if tensor.dim() == 2 and tensor.is_floating_point() and name.endswith(".weight"):
            stored[name], stored[name + SCALE] = quantise(tensor)
        else:
            stored[name] = tensor
    return stored


def as_floats(stored: Mapping[str, Tensor], folder: ModelFolder) -> dict[str, Tensor]:
    """The fp32 that a folder's tensors stand for, by name. Raises ModelError for int8 without its scale."""
    found = {}
    for name, tensor in stored.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in stored:
            continue
        scale_O = stored.get(name + SCALE)
        fits = scale_O is None or scale_O.shape == tensor.shape[:1]
        if (scale_O is None) != tensor.is_floating_point() or not fits:
            raise ModelError(f"{name} has no {name}{SCALE} that fits.", "Restore the file.", str(folder.path / WEIGHTS))
        found[name] = tensor.float() if scale_O is None else Quantised(tensor, scale_O).floats()
    return found


def hold_in_int8(model: Any, stored: Mapping[str, Tensor]) -> None:
    """Put int8 layers in place of the linear layers and embeddings that a folder holds in int8; tied ones stay tied."""
    owners = {module.weight: name for name, module in model.named_modules() if f"{name}.weight{SCALE}" in stored}
    held = {
        weight: (nn.Parameter(stored[f"{name}.weight"], requires_grad=False), stored[f"{name}.weight{SCALE}"])
        for weight, name in owners.items()
    }
    for name, module in list(model.named_modules()):
        if type(module) not in (nn.Linear, nn.Embedding) or module.weight not in held:
            continue
        parent, _, child = name.rpartition(".")
        weight = held[module.weight]
        made = Int8Linear(*weight, module.bias) if type(module) is nn.Linear else Int8Embedding(*weight)
        setattr(model.get_submodule(parent), child, made)


def turn_to_int8(model: Any) -> None:
    """Put int8 in place of the floats of every matrix of a model in memory."""
    hold_in_int8(model, as_stored(model.state_dict()))


def held_bytes(model: Any) -> int:
    """What a model's weights take in memory, scales of int8 among them."""
    scales = [buffer for name, buffer in model.named_buffers() if name.endswith(f"weight{SCALE}")]  # tied ones once
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *scales))
