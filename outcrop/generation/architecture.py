"""Which transformers models the decoder computes, read from their modules; what it cannot read goes the slower way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from outcrop.generation.attention import Kind
from outcrop.generation.decoder import AnyProduct, Decoder, Layer, Norm, RotaryTables, Shape, Table, Weights
from outcrop.generation.int8_linear import Int8Product, can_multiply
from outcrop.generation.limits import LENGTH_DEPENDENT, NotOfTheFamily
from outcrop.generation.linear import Linear
from outcrop.models.int8 import Int8Embedding, Int8Linear

PLAIN = ""
"""The table of angles of a model that has one for all layers."""
LAYER_PARTS = {
    "self_attn", "mlp", "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
}  # fmt: skip
ATTENTION_PARTS = {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"}
FEED_FORWARD_PARTS = {"gate_proj", "up_proj", "down_proj", "act_fn"}
MODEL_PARTS = {"embed_tokens", "layers", "norm", "rotary_emb"}


def read_decoder(model: Any) -> Decoder:
    """The decoder of a transformers causal language model, with packed copies of its weights.

    Raises NotOfTheFamily. That the result computes the same is for a probe to show: configurations have more fields
    than are read here.
    """
    trunk: Any = getattr(model, "model", None)
    _expect(trunk is not None and _parts(trunk) <= MODEL_PARTS and _parts(model) <= {"model", "lm_head"}, "its parts")
    head, embedding = model.get_output_embeddings(), trunk.embed_tokens
    kinds = isinstance(head, nn.Linear | Int8Linear) and isinstance(embedding, nn.Embedding | Int8Embedding)
    _expect(kinds, "its embeddings")
    layers = [_layer(layer, model.config) for layer in trunk.layers]
    first = trunk.layers[0].self_attn
    width = first.head_dim
    shape = Shape(first.q_proj.out_features // width, first.k_proj.out_features // width, width)
    _expect(
        all(layer.qkv.outputs == (shape.heads + 2 * shape.kv_heads) * width for layer in layers), "layers that differ"
    )
    weights = Weights(
        embedding=Table(embedding.weight.detach().clone(), getattr(embedding, "weight_scale", None)),
        embedding_scale=_embedding_scale(embedding),
        layers=layers,
        activation=_activation(trunk.layers[0].mlp.act_fn),
        last_norm=_norm(trunk.norm),
        head=_product([head]),
        logit_cap=getattr(model.config, "final_logit_softcapping", None),
    )
    return Decoder(weights, shape, _rotary(trunk.rotary_emb, weights.last_norm.weight, layers))


def _layer(layer: Any, config: Any) -> Layer:
    attention, feed_forward = layer.self_attn, layer.mlp
    _expect(_parts(layer) <= LAYER_PARTS, "a part of its layers")
    _expect(_parts(attention) <= ATTENTION_PARTS and _parts(feed_forward) <= FEED_FORWARD_PARTS, "a part of its blocks")
    projections: list[Any] = [getattr(attention, name, None) for name in ("q_proj", "k_proj", "v_proj", "o_proj")]
    projections += [getattr(feed_forward, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    _expect(all(type(part) in (nn.Linear, Int8Linear) for part in projections), "its projections")
    q, k, v, output, gate, up, down = projections
    head_norms = [_optional_norm(attention, name) for name in ("q_norm", "k_norm")]
    _expect(all(norm is None or len(norm.weight) == attention.head_dim for norm in head_norms), "its norms of queries")
    before = _optional_norm(layer, "input_layernorm")
    sandwiched = hasattr(layer, "post_feedforward_layernorm")
    after_attention = _optional_norm(layer, "post_attention_layernorm")
    return Layer(
        attention_norm=before,
        qkv=_product([q, k, v]),
        query_norm=head_norms[0],
        key_norm=head_norms[1],
        output=_product([output]),
        after_attention=after_attention if sandwiched else None,
        feed_forward_norm=_optional_norm(layer, "pre_feedforward_layernorm") if sandwiched else after_attention,
        gate_up=_product([gate, up]),
        down=_product([down]),
        after_feed_forward=_optional_norm(layer, "post_feedforward_layernorm"),
        kind=_kind(attention, config),
        rotary=_table(attention, config),
    )


def _product(layers: Sequence[Any]) -> AnyProduct:
    """Layers of the same input as one product: of whole numbers, where they are int8 and the processor can."""
    return Int8Product.joined(layers) if can_multiply(layers) else Linear.joined(layers)


def _kind(attention: Any, config: Any) -> Kind:
    """The window of a layer is a field of its attention, or of a configuration without kinds of layers."""
    window = getattr(attention, "sliding_window", None)
    if not hasattr(attention, "sliding_window") and not getattr(config, "layer_types", None):
        window = getattr(config, "sliding_window", None)
    return Kind(attention.scaling, window, getattr(attention, "attn_logit_softcapping", None))


def _table(attention: Any, config: Any) -> str | None:
    if not getattr(attention, "use_rope", True):
        return None
    rotary_by_kind = isinstance(next(iter((config.rope_parameters or {}).values()), None), dict)
    return str(attention.layer_type) if rotary_by_kind else PLAIN


def _rotary(module: Any, weight: Tensor, layers: list[Layer]) -> RotaryTables:
    kinds = module.rope_type.values() if isinstance(module.rope_type, dict) else [module.rope_type]
    _expect(not set(kinds) & LENGTH_DEPENDENT, "angles that depend on the length of the text")
    names = frozenset(layer.rotary for layer in layers if layer.rotary is not None)

    def make(positions: Tensor, name: str) -> tuple[Tensor, Tensor]:
        cos, sin = module(weight, positions[None], *([name] if name != PLAIN else []))
        return cos[0], sin[0]

    return RotaryTables(make, names)


def _norm(module: Any) -> Norm:
    """Raises NotOfTheFamily for anything but a root-mean-square norm. Gemma stores the weight less one."""
    name = type(module).__name__
    eps: Any = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    _expect(name.endswith("RMSNorm") and getattr(module, "weight", None) is not None and eps is not None, name)
    weight = module.weight.detach()
    return Norm.of((1.0 + weight.float()).to(weight.dtype) if name.startswith("Gemma") else weight, eps)


def _optional_norm(parent: Any, name: str) -> Norm | None:
    return _norm(getattr(parent, name)) if hasattr(parent, name) else None


def _activation(module: Any) -> Callable[[Tensor], Tensor]:
    return F.silu if isinstance(module, nn.SiLU) or type(module).__name__ == "SiLUActivation" else module


def _embedding_scale(embedding: Any) -> Tensor | None:
    scale = getattr(embedding, "embed_scale", None)
    return None if scale is None else scale.detach().to(embedding.weight.dtype)


def _parts(module: Any) -> set[str]:
    return {name for name, _ in module.named_children()}


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise NotOfTheFamily(what)
