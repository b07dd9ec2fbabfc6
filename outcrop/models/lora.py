"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): attach, merge, and PEFT's file format."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from outcrop.core.errors import ModelError
from outcrop.core.files import write_json
from outcrop.core.seeds import derive
from outcrop.models.folder import ADAPTER_CONFIG, ModelFolder

PREFIX = "base_model.model."
ADAPTER_WEIGHTS = "adapter_model.safetensors"
OTHER_KINDS = (
    "use_dora", "use_qalora", "lora_bias", "fan_in_fan_out", "modules_to_save", "rank_pattern", "alpha_pattern",
    "layer_replication", "trainable_token_indices", "target_parameters", "alora_invocation_tokens",
)  # fmt: skip
"""Fields of PEFT's configuration that, when set, make another computation."""


class LoraShape(NamedTuple):
    """The choices that make an adapter what it is. scale is alpha / R, or alpha / √R (rsLoRA, arXiv 2312.03732)."""

    rank: int
    alpha: float
    dropout: float = 0.0
    rslora: bool = False

    @property
    def scale(self) -> float:
        """What B·A is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


class LoraLinear(nn.Module):
    """A frozen linear layer plus scale · B·A: x·Wᵀ + scale·(x·Aᵀ)·Bᵀ (eq. 3). lora_A [R, I], lora_B [O, R]."""

    def __init__(self, base: nn.Linear, shape: LoraShape, generator: torch.Generator) -> None:
        super().__init__()
        self.base, self.scale, self.dropout = base, shape.scale, shape.dropout
        bound = 1 / math.sqrt(base.in_features)  # kaiming_uniform_(a=√5), as PEFT does
        start = torch.empty(shape.rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(start.to(base.weight.device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, shape.rank, device=base.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., I] → [..., O]."""
        low = F.linear(F.dropout(x, self.dropout, self.training), self.lora_A.to(x.dtype))
        return self.base(x) + F.linear(low * self.scale, self.lora_B.to(x.dtype))

    def delta(self) -> Tensor:
        """scale · B·A in fp32: what merging adds to the weight."""
        return self.scale * (self.lora_B.float() @ self.lora_A.float())


def adaptable(model: Any) -> Iterator[tuple[str, nn.Linear]]:
    """Every linear layer of the blocks, by name; the output layer and embeddings stay as they are."""
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not head:
            yield name, module


def attach(model: Any, shape: LoraShape, *, seed: int = 0) -> None:
    """Freeze the model and put an adapter on every adaptable layer. Output is unchanged: B starts at zero.

    Raises ModelError for a model whose blocks have no linear layers.
    """
    layers = list(adaptable(model))
    if not layers:
        raise ModelError(
            f"{type(model).__name__} has no linear layers that adapters could be put on.",
            "Tune all weights, or take another base model.",
        )
    model.requires_grad_(False)
    for name, layer in layers:
        generator = torch.Generator().manual_seed(derive(seed, "lora", name))
        _replace(model, name, LoraLinear(layer, shape, generator))


def merge(model: Any) -> None:
    """Add every adapter to its weight and remove it. The sum is made in fp32 and rounded once."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear):
            weight = module.base.weight
            weight.data = (weight.float() + module.delta()).to(weight.dtype)
            _replace(model, name, module.base)


def save_adapter(model: Any, folder: Path, base: str, shape: LoraShape, state: Mapping[str, Tensor]) -> None:
    """Write the adapter in PEFT's format.

    base: where its base model lies; state: fp32 adapter weights by parameter name ("….lora_A", "….lora_B").
    """
    named = {f"{PREFIX}{name}.weight": tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(named, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    targets = sorted({name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, LoraLinear)})
    write_json(
        folder / ADAPTER_CONFIG,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": shape.rank,
            "lora_alpha": shape.alpha,
            "lora_dropout": shape.dropout,
            "use_rslora": shape.rslora,
            "target_modules": targets,
            "bias": "none",
            "inference_mode": True,
            "fan_in_fan_out": False,
            "modules_to_save": None,
            "use_dora": False,
        },
    )


class LayerSize(NamedTuple):
    """Width of a linear layer's input and output."""

    inputs: int
    outputs: int


class ReadAdapter(NamedTuple):
    """An adapter as its folder holds it: A [R, I] and B [O, R] by the name of the layer."""

    shape: LoraShape
    weights: dict[str, tuple[Tensor, Tensor]]


def layer_sizes(model: Any) -> dict[str, LayerSize]:
    """Every adaptable layer, by name."""
    return {name: LayerSize(layer.in_features, layer.out_features) for name, layer in adaptable(model)}


def read_adapter(folder: ModelFolder, layers: Mapping[str, LayerSize]) -> ReadAdapter:
    """Read an adapter folder for a base model with these layers.

    Raises ModelError for a kind we do not compute, or weights that do not fit the base.
    """
    shape = _shape(folder)
    try:
        state = load_file(folder.path / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{ADAPTER_WEIGHTS} cannot be read: {error}.", "Restore the file.", folder.name) from None
    weights = {}
    for name in sorted({key.removeprefix(PREFIX).rpartition(".lora_")[0] for key in state}):
        A, B = (state.pop(f"{PREFIX}{name}.lora_{part}.weight", None) for part in "AB")
        size = layers.get(name)
        expected = None if size is None else ((shape.rank, size.inputs), (size.outputs, shape.rank))
        if A is None or B is None or (tuple(A.shape), tuple(B.shape)) != expected:
            raise ModelError(
                f"The adapter does not fit this base model: {name or 'its weights have other names'}.",
                "Load it on the base it was trained from.",
                folder.name,
            )
        weights[name] = (A, B)
    if not weights or state:
        found = f"{min(state)} is none of LoRA's" if state else "there are none"
        raise ModelError(f"The adapter's weights cannot be used: {found}.", "Merge it with PEFT first.", folder.name)
    return ReadAdapter(shape, weights)


def load_adapter(model: Any, folder: ModelFolder) -> None:
    """Attach an adapter folder. Raises ModelError as `read_adapter` does."""
    shape, weights = read_adapter(folder, layer_sizes(model))
    layers = dict(adaptable(model))
    model.requires_grad_(False)
    for name, (A, B) in weights.items():
        layer = layers[name]
        adapted = LoraLinear(layer, shape, torch.Generator())
        adapted.lora_A.data, adapted.lora_B.data = A.to(layer.weight.device), B.to(layer.weight.device)
        _replace(model, name, adapted)


def _shape(folder: ModelFolder) -> LoraShape:
    """The shape in adapter_config.json. Raises ModelError for kinds of adapters that are computed in another way."""
    config = folder.read(ADAPTER_CONFIG)
    refused = [key for key in OTHER_KINDS if config.get(key)]
    if config.get("bias", "none") != "none":
        refused.append("bias")
    if isinstance(config.get("init_lora_weights"), str) and config["init_lora_weights"] != "gaussian":
        refused.append(f"init_lora_weights={config['init_lora_weights']}")
    if config.get("peft_type") != "LORA" or refused:
        raise ModelError(
            f"The adapter is of a kind that is not supported: {', '.join(refused) or config.get('peft_type')}.",
            "Merge it with PEFT first.",
            folder.name,
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise ModelError(
            f"{ADAPTER_CONFIG} gives r = {rank!r} and lora_alpha = {alpha!r}.",
            "Give a whole number from 1 and a number.",
            folder.name,
        )
    return LoraShape(rank, alpha, rslora=bool(config.get("use_rslora")))


def _replace(model: Any, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
