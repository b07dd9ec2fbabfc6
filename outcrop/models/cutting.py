"""Smaller models cut out of a larger one: fewer layers, narrower feed-forwards, fewer heads, fewer channels.

What goes is what matters least on the user's own rows. Shapes: T tokens, E channels of the residual stream, I neurons
of a feed-forward, G key-value groups (a key-value head with the query heads that use it), D head width.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from outcrop.core.errors import ModelError
from outcrop.core.spec import Spec, parameter

MLP = ("gate_proj", "up_proj", "down_proj")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


class CutSpec(Spec):
    """What is kept of a model, in shares of what it has; at least one of each is."""

    depth: float = parameter(1.0, "layers", gt=0, le=1)
    neurons: float = parameter(1.0, "neurons of each feed-forward", gt=0, le=1)
    heads: float = parameter(1.0, "key-value heads of each layer, with the query heads that use them", gt=0, le=1)
    channels: float = parameter(1.0, "channels of the residual stream", gt=0, le=1)

    @property
    def name(self) -> str:
        """In words, for tables: "depth 1/2, neurons 50 %"."""
        parts = [f"{part} {value:.0%}" for part, value in self.model_dump().items() if value < 1]
        return ", ".join(parts) or "whole"


@dataclass(frozen=True)
class Importance:
    """What each part of a model does on some rows. blocks [L]: 1 − cosine of a layer's input and output (block
    influence, Men et al. 2024, arXiv 2403.03853, eq. 1); neurons [L, I], heads [L, G] and channels [E]: mean size of
    what they hand on, times the size of the weights that take it (Muralidharan et al. 2024, arXiv 2407.14679, §2.2)."""

    blocks: Tensor
    neurons: Tensor
    heads: Tensor
    channels: Tensor


def layers_of(model: Any) -> Any:
    """The layers of a model. Raises ModelError for an architecture that cannot be cut."""
    decoder = model.get_decoder()
    layers = getattr(decoder, "layers", None)
    fits = layers is not None and all(
        hasattr(layer, "mlp") and hasattr(layer, "self_attn")
        and all(isinstance(getattr(layer.mlp, part, None), nn.Linear) for part in MLP)
        and all(isinstance(getattr(layer.self_attn, part, None), nn.Linear) for part in ATTENTION)
        for layer in layers
    )  # fmt: skip
    if not fits:
        raise ModelError(
            f"{type(model).__name__} cannot be cut: its layers are not those of the Llama family.",
            "Give a student: --student MODEL.",
        )
    return layers


@torch.no_grad()
def measure_importance(model: Any, rows: Sequence[Sequence[int]]) -> Importance:
    """What each part does while the model reads the rows, one at a time. Raises ModelError as `layers_of`."""
    layers, config = layers_of(model), model.config
    sums = [_Sums() for _ in layers]
    channels = torch.zeros(config.hidden_size, dtype=torch.float64)
    hooks = [hook for layer, each in zip(layers, sums, strict=True) for hook in each.watch(layer)]

    def last(_: Any, inputs: Any, output: Tensor) -> None:
        channels.add_(output.detach().flatten(0, -2).abs().double().sum(0).cpu())

    norms = [layer.input_layernorm for layer in layers] + [layer.post_attention_layernorm for layer in layers]
    hooks += [norm.register_forward_hook(last) for norm in (*norms, model.get_decoder().norm)]
    try:
        for row in rows:
            model(input_ids=torch.tensor([list(row)], device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    groups = config.num_key_value_heads
    return Importance(
        torch.stack([each.influence / each.tokens for each in sums]),
        torch.stack([each.neurons * layer.mlp.down_proj.weight.double().norm(dim=0).cpu()
                     for layer, each in zip(layers, sums, strict=True)]),
        torch.stack([(each.heads * layer.self_attn.o_proj.weight.double().norm(dim=0).cpu()).view(groups, -1).sum(1)
                     for layer, each in zip(layers, sums, strict=True)]),
        channels,
    )  # fmt: skip


def cut(model: Any, importance: Importance, spec: CutSpec) -> Any:
    """A new model, fp32 and in evaluation mode, of the parts that matter most; the model itself stays as it is.

    Raises ModelError as `layers_of`.
    """
    layers, config = layers_of(model), copy.deepcopy(model.config)
    kept_layers = _most(importance.blocks, spec.depth)
    neurons = [_most(importance.neurons[layer], spec.neurons) for layer in kept_layers]
    groups = [_most(importance.heads[layer], spec.heads) for layer in kept_layers]
    channels = _most(importance.channels, spec.channels)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    each = config.num_attention_heads // config.num_key_value_heads
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[layer] for layer in kept_layers]
    config.num_hidden_layers, config.head_dim = len(kept_layers), width
    config.intermediate_size, config.hidden_size = len(neurons[0]), len(channels)
    config.num_key_value_heads, config.num_attention_heads = len(groups[0]), each * len(groups[0])
    smaller = type(model)(config).float().eval()
    state = model.state_dict()
    taken = {}
    for new, old in enumerate(kept_layers):
        keys, queries = _spread(groups[new], width), _spread(groups[new], each * width)
        picks = _Picks(torch.tensor(channels), torch.tensor(neurons[new]), keys, queries)
        prefix = _prefix(model, layers[old])
        for name, tensor in state.items():
            if name.startswith(prefix):
                taken[_renumbered(name, prefix, old, new)] = picks.of(name.removeprefix(prefix), tensor)
    for name, tensor in state.items():
        if not any(name.startswith(_prefix(model, layer)) for layer in layers):
            taken[name] = (
                tensor[..., channels] if tensor.dim() and tensor.shape[-1] == len(importance.channels) else tensor
            )
    smaller.load_state_dict({name: tensor.float() for name, tensor in taken.items()})
    return smaller


class _Sums:
    """What one layer did so far."""

    def __init__(self) -> None:
        self.influence, self.tokens = torch.zeros((), dtype=torch.float64), 0
        self.neurons: Any = 0
        self.heads: Any = 0

    def watch(self, layer: Any) -> list[Any]:
        """Hooks on the layer and on the inputs of its two output matrices."""
        return [
            layer.register_forward_hook(self._layer),
            layer.mlp.down_proj.register_forward_pre_hook(lambda _, inputs: self._add("neurons", inputs[0])),
            layer.self_attn.o_proj.register_forward_pre_hook(lambda _, inputs: self._add("heads", inputs[0])),
        ]

    def _layer(self, _: Any, inputs: Any, output: Any) -> None:
        before, after = inputs[0].flatten(0, -2), (output[0] if isinstance(output, tuple) else output).flatten(0, -2)
        self.influence += (1 - torch.cosine_similarity(before.double(), after.double(), dim=-1)).sum().cpu()
        self.tokens += len(before)

    def _add(self, part: str, value: Tensor) -> None:
        setattr(self, part, getattr(self, part) + value.detach().flatten(0, -2).abs().double().sum(0).cpu())


@dataclass(frozen=True)
class _Picks:
    """Indices that stay in one layer, by what an axis counts."""

    channels: Tensor
    neurons: Tensor
    keys: Tensor
    queries: Tensor

    def of(self, name: str, tensor: Tensor) -> Tensor:
        """The part of a layer's tensor that stays."""
        module, _, kind = name.rpartition(".")
        rows = {
            "mlp.gate_proj": self.neurons, "mlp.up_proj": self.neurons, "self_attn.q_proj": self.queries,
            "self_attn.k_proj": self.keys, "self_attn.v_proj": self.keys,
        }.get(module, self.channels)  # fmt: skip
        if module.endswith(("q_norm", "k_norm")):
            return tensor
        if kind == "bias" or tensor.dim() == 1:
            return tensor[rows]
        columns = {"mlp.down_proj": self.neurons, "self_attn.o_proj": self.queries}.get(module, self.channels)
        return tensor[rows][:, columns]


def _most(importance: Tensor, share: float) -> list[int]:
    """Indices of the most important, in their order, at least one."""
    count = max(1, round(share * len(importance)))
    return sorted(importance.argsort(descending=True, stable=True)[:count].tolist())


def _spread(groups: Sequence[int], width: int) -> Tensor:
    return torch.cat([torch.arange(group * width, (group + 1) * width) for group in groups])


def _prefix(model: Any, layer: Any) -> str:
    return next(name for name, module in model.named_modules() if module is layer) + "."


def _renumbered(name: str, prefix: str, old: int, new: int) -> str:
    return prefix.removesuffix(f"{old}.") + f"{new}." + name.removeprefix(prefix)
