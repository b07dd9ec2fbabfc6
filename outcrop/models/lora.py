"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): attach, merge, and PEFT's file format."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from outcrop.core.errors import ModelError
from outcrop.core.files import write_json
from outcrop.core.seeds import derive

PREFIX = "base_model.model."
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class LoraLinear(nn.Module):
    """A frozen linear layer plus scale · B·A: x·Wᵀ + scale·(x·Aᵀ)·Bᵀ (eq. 3). lora_A [R, I], lora_B [O, R]."""

    def __init__(self, base: nn.Linear, rank: int, scale: float, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        self.base, self.scale, self.dropout = base, scale, dropout
        bound = 1 / math.sqrt(base.in_features)  # kaiming_uniform_(a=√5), as PEFT does
        start = torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(start.to(base.weight.device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., I] → [..., O]."""
        low = F.linear(F.dropout(x, self.dropout, self.training), self.lora_A.to(x.dtype))
        return self.base(x) + F.linear(low * self.scale, self.lora_B.to(x.dtype))

    def delta(self) -> Tensor:
        """scale · B·A in fp32: what merging adds to the weight."""
        return self.scale * (self.lora_B.float() @ self.lora_A.float())


def scale_of(rank: int, alpha: float, rslora: bool) -> float:
    """alpha / R, or alpha / √R (rsLoRA, arXiv 2312.03732)."""
    return alpha / (math.sqrt(rank) if rslora else rank)


def adaptable(model: Any) -> Iterator[tuple[str, nn.Linear]]:
    """Every linear layer of the blocks, by name; the output layer and embeddings stay as they are."""
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not head:
            yield name, module


def attach(model: Any, *, rank: int, alpha: float, dropout: float = 0.0, rslora: bool = False, seed: int = 0) -> None:
    """Freeze the model and put an adapter on every adaptable layer. Output is unchanged: B starts at zero."""
    model.requires_grad_(False)
    for name, layer in list(adaptable(model)):
        generator = torch.Generator().manual_seed(derive(seed, "lora", name))
        _replace(model, name, LoraLinear(layer, rank, scale_of(rank, alpha, rslora), dropout, generator))


def merge(model: Any) -> None:
    """Add every adapter to its weight and remove it. The sum is made in fp32 and rounded once."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear):
            weight = module.base.weight
            weight.data = (weight.float() + module.delta()).to(weight.dtype)
            _replace(model, name, module.base)


def save_adapter(
    model: Any,
    folder: Path,
    *,
    base: str,
    rank: int,
    alpha: float,
    dropout: float,
    rslora: bool,
    state: Mapping[str, Tensor],
) -> None:
    """Write the adapter in PEFT's format. state: fp32 adapter weights by parameter name ("….lora_A", "….lora_B")."""
    named = {f"{PREFIX}{name}.weight": tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(named, folder / WEIGHTS, metadata={"format": "pt"})
    targets = sorted({name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, LoraLinear)})
    write_json(
        folder / CONFIG,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": rank,
            "lora_alpha": alpha,
            "lora_dropout": dropout,
            "use_rslora": rslora,
            "target_modules": targets,
            "bias": "none",
            "inference_mode": True,
            "fan_in_fan_out": False,
            "modules_to_save": None,
            "use_dora": False,
        },
    )


def load_adapter(model: Any, folder: Path) -> None:
    """Attach an adapter folder. Raises ModelError for a kind we do not compute, or weights that do not fit the base."""
    config = json.loads((folder / CONFIG).read_text())
    refused = [
        key
        for key in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
        if config.get(key)
    ]
    if config.get("peft_type") != "LORA" or refused or config.get("bias", "none") != "none":
        raise ModelError(
            f"The adapter is of a kind that is not supported: {', '.join(refused) or config.get('peft_type')}.",
            "Merge it with PEFT first.",
            str(folder),
        )
    state = load_file(folder / WEIGHTS)
    rank, scale = config["r"], scale_of(config["r"], config["lora_alpha"], bool(config.get("use_rslora")))
    layers = dict(adaptable(model))
    names = {key.removeprefix(PREFIX).rpartition(".lora_")[0] for key in state}
    model.requires_grad_(False)
    for name in sorted(names):
        A, B = (state.get(f"{PREFIX}{name}.lora_{part}.weight") for part in "AB")
        layer = layers.get(name)
        expected = None if layer is None else ((rank, layer.in_features), (layer.out_features, rank))
        if layer is None or A is None or B is None or (tuple(A.shape), tuple(B.shape)) != expected:
            raise ModelError(
                f"The adapter does not fit this base model: {name}.",
                "Load it on the base it was trained from.",
                str(folder),
            )
        adapted = LoraLinear(layer, rank, scale, 0.0, torch.Generator())
        adapted.lora_A.data, adapted.lora_B.data = A.to(layer.weight.device), B.to(layer.weight.device)
        _replace(model, name, adapted)


def _replace(model: Any, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
