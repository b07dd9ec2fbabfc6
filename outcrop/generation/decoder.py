"""The Llama family in a few operations per layer: joined projections, packed weights, and attention over the slots.

Shape letters: T flat tokens, M wanted tokens, E hidden, H query heads, K key-value heads, D head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from outcrop.generation.adapters import Adapted, AdaptedRows, Block, Factors
from outcrop.generation.attention import Attention, Kind
from outcrop.generation.int8_linear import Int8Product
from outcrop.generation.linear import Linear
from outcrop.generation.slots import CacheShape

FIRST_POSITIONS = 512
FEW_ROWS, MANY_ROWS = 16, 64

AnyAdapted = Adapted | AdaptedRows
AnyProduct = Linear | Int8Product


class Tokens(NamedTuple):
    """What goes through a model in one pass. highest: a bound on the positions."""

    ids_T: Tensor
    positions_T: Tensor
    highest: int


class Norm(NamedTuple):
    """Root-mean-square norm (Zhang and Sennrich 2019, eq. 4), three times the same: torch's own is slow on a CPU for
    few rows, where a layer norm of x and -x, whose mean is 0, takes half its time, and for many in bf16."""

    weight: Tensor
    eps: float
    doubled: Tensor

    @classmethod
    def of(cls, weight: Tensor, eps: float) -> Norm:
        """The norm with a copy of this weight."""
        return cls(weight.clone(), eps, weight.repeat(2))

    def __call__(self, x: Tensor) -> Tensor:
        """Over the last dimension."""
        if x.device.type != "cpu" or x.dim() != 2:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        rows, width = x.shape
        if rows <= FEW_ROWS:
            both = F.layer_norm(torch.cat([x, x.neg()], -1), (2 * width,), self.doubled, None, self.eps)
            return both[:, :width]
        if x.dtype == torch.bfloat16 and rows >= MANY_ROWS:
            x32 = x.float()
            squares = torch.linalg.vector_norm(x32, dim=-1, keepdim=True).square_()
            return x32.mul_(squares.div_(width).add_(self.eps).rsqrt_()).to(x.dtype).mul_(self.weight)
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Table(NamedTuple):
    """The rows of an embedding; with a scale for each where they are int8."""

    rows_VE: Tensor
    scale_V: Tensor | None

    @property
    def dtype(self) -> torch.dtype:
        """Of what is looked up."""
        return self.rows_VE.dtype if self.scale_V is None else self.scale_V.dtype

    def __call__(self, ids_T: Tensor) -> Tensor:
        """[T, E]."""
        found_TE = F.embedding(ids_T, self.rows_VE)
        return found_TE if self.scale_V is None else found_TE * self.scale_V[ids_T, None]


@dataclass(frozen=True)
class Layer:
    """One block. Norms that an architecture does not have are None; `rotary` names its table of angles, None for none.

    query_norm, key_norm: over each head. after_attention, after_feed_forward: over what is added to the residual.
    """

    attention_norm: Norm | None
    qkv: AnyProduct
    query_norm: Norm | None
    key_norm: Norm | None
    output: AnyProduct
    after_attention: Norm | None
    feed_forward_norm: Norm | None
    gate_up: AnyProduct
    down: AnyProduct
    after_feed_forward: Norm | None
    kind: Kind
    rotary: str | None


class Rotation(NamedTuple):
    """Rotary embedding (Su et al. 2021, eq. 34) of the tokens of a pass: cos and ±sin, [T, 1, D]."""

    cos_T1D: Tensor
    sin_T1D: Tensor

    def __call__(self, x_THD: Tensor) -> Tensor:
        """The halves of every head, turned; sin holds the sign of the half that it comes to."""
        return torch.addcmul(x_THD * self.cos_T1D, x_THD.roll(x_THD.shape[-1] // 2, -1), self.sin_T1D)


class RotaryTables:
    """Angles by position, made by the model's own code, as many as were needed yet. names: kinds of tables."""

    def __init__(self, make: Callable[[Tensor, str], tuple[Tensor, Tensor]], names: frozenset[str]) -> None:
        self._make, self._names = make, names
        self._tables: dict[str, Rotation] = {}
        self._made = 0

    def at(self, positions_T: Tensor, highest: int) -> dict[str, Rotation]:
        """The rotations of these positions, none of them above `highest`."""
        if highest >= self._made:
            self._made = max(FIRST_POSITIONS, 2 * highest)
            positions = torch.arange(self._made, device=positions_T.device)
            self._tables = {name: _signed(*self._make(positions, name)) for name in self._names}
        return {
            name: Rotation(table.cos_T1D[positions_T], table.sin_T1D[positions_T])
            for name, table in self._tables.items()
        }


def _signed(cos_TD: Tensor, sin_TD: Tensor) -> Rotation:
    half = sin_TD.shape[-1] // 2
    signed = torch.cat([-sin_TD[:, :half], sin_TD[:, half:]], -1)
    return Rotation(cos_TD[:, None].contiguous(), signed[:, None].contiguous())


@dataclass(frozen=True)
class Shape:
    """Heads of every layer."""

    heads: int
    kv_heads: int
    head_width: int


@dataclass(frozen=True)
class Weights:
    """All of a model but its angles. embedding_scale, logit_cap: of Gemma, None elsewhere."""

    embedding: Table
    embedding_scale: Tensor | None
    layers: list[Layer]
    activation: Callable[[Tensor], Tensor]
    last_norm: Norm
    head: AnyProduct
    logit_cap: float | None


class Decoder:
    """Token ids and positions to logits."""

    def __init__(self, weights: Weights, shape: Shape, rotary: RotaryTables) -> None:
        self._weights, self._shape, self._rotary = weights, shape, rotary

    @property
    def cache_shape(self) -> CacheShape:
        """What one token takes in the cache."""
        table, shape = self._weights.embedding, self._shape
        device = table.rows_VE.device
        return CacheShape(len(self._weights.layers), shape.kv_heads, shape.head_width, table.dtype, device)

    def logits(
        self, tokens: Tokens, attention: Attention, wanted_M: Tensor | None, adapted: AnyAdapted | None = None
    ) -> Tensor:
        """[M, V] after the wanted tokens (None: after all)."""
        weights = self._weights
        hidden_TE = weights.embedding(tokens.ids_T)
        if weights.embedding_scale is not None:
            hidden_TE = hidden_TE * weights.embedding_scale
        turn = _Pass(attention, self._rotary.at(tokens.positions_T, tokens.highest), adapted)
        for number, layer in enumerate(weights.layers):
            last = number == len(weights.layers) - 1
            hidden_TE = self._layer(number, layer, hidden_TE, turn, wanted_M if last else None)
        logits_MV = weights.head(weights.last_norm(hidden_TE))
        if weights.logit_cap is not None:
            logits_MV = (logits_MV / weights.logit_cap).tanh_().mul_(weights.logit_cap)
        return logits_MV

    def _layer(self, number: int, layer: Layer, hidden_TE: Tensor, turn: _Pass, wanted_M: Tensor | None) -> Tensor:
        """wanted_M: the tokens that go on from here (None: all); of others there are keys and values, nothing else."""
        normed = hidden_TE if layer.attention_norm is None else layer.attention_norm(hidden_TE)
        qkv = turn.product((number, "qkv"), layer.qkv, normed)
        attended = self._attend(number, layer, qkv, turn)
        if wanted_M is not None:
            attended, hidden_TE, turn = attended[wanted_M], hidden_TE[wanted_M], turn.among(wanted_M)
        if layer.after_attention is None:
            hidden_TE = turn.product((number, "output"), layer.output, attended, hidden_TE)
        else:
            hidden_TE = hidden_TE + layer.after_attention(turn.product((number, "output"), layer.output, attended))
        normed = hidden_TE if layer.feed_forward_norm is None else layer.feed_forward_norm(hidden_TE)
        gate, up = turn.product((number, "gate_up"), layer.gate_up, normed).chunk(2, -1)
        inner = self._weights.activation(gate).mul_(up)
        if layer.after_feed_forward is None:
            return turn.product((number, "down"), layer.down, inner, hidden_TE)
        return hidden_TE + layer.after_feed_forward(turn.product((number, "down"), layer.down, inner))

    def _attend(self, number: int, layer: Layer, qkv: Tensor, turn: _Pass) -> Tensor:
        heads, kv_heads, width = self._shape.heads, self._shape.kv_heads, self._shape.head_width
        qkv_TXD = qkv.view(qkv.shape[0], heads + 2 * kv_heads, width)
        turned, values = qkv_TXD[:, : heads + kv_heads], qkv_TXD[:, heads + kv_heads :]
        if layer.query_norm is not None and layer.key_norm is not None:
            turned = torch.cat([layer.query_norm(turned[:, :heads]), layer.key_norm(turned[:, heads:])], 1)
        if layer.rotary is not None:
            turned = turn.rotations[layer.rotary](turned)
        return turn.attention.attend(number, turned[:, :heads], turned[:, heads:], values, layer.kind)

    def sites(self, weights: Mapping[str, Factors]) -> dict[str, Factors]:
        """An adapter's factors, by layer name, for the joined products of this decoder."""
        shape, found = self._shape, dict[str, Factors]()
        widths = {"q_proj": shape.heads, "k_proj": shape.kv_heads, "v_proj": shape.kv_heads}
        for number, layer in enumerate(self._weights.layers):
            inner = layer.gate_up.outputs // 2
            blocks = {
                "qkv": {f"self_attn.{name}": heads * shape.head_width for name, heads in widths.items()},
                "output": {"self_attn.o_proj": layer.output.outputs},
                "gate_up": {"mlp.gate_proj": inner, "mlp.up_proj": inner},
                "down": {"mlp.down_proj": layer.down.outputs},
            }
            for site, outputs in blocks.items():
                given = {name: weights.get(f"model.layers.{number}.{name}") for name in outputs}
                if any(factors is not None for factors in given.values()):
                    found[f"{number}.{site}"] = _beside(given, outputs)
        return found


def _beside(given: Mapping[str, Factors | None], outputs: Mapping[str, int]) -> Factors:
    """The factors of layers whose outputs lie side by side: A one below the other, B in blocks."""
    rows, columns, blocks = [], [], list[Block]()
    first = first_rank = 0
    total = sum(outputs.values())
    for name, width in outputs.items():
        factors = given[name]
        if factors is not None:
            ranks = slice(first_rank, first_rank + len(factors.A_RI))
            blocks.append(Block(ranks, slice(first, first + width)))
            rows.append(factors.A_RI)
            columns.append(F.pad(factors.B_OR, (0, 0, first, total - first - width)))
            first_rank = ranks.stop
        first += width
    return Factors(torch.cat(rows), torch.cat(columns, 1), tuple(blocks))


class _Pass(NamedTuple):
    """What the layers of a pass share."""

    attention: Attention
    rotations: dict[str, Rotation]
    adapted: AnyAdapted | None

    def product(
        self, site: tuple[int, str], linear: AnyProduct, x_TI: Tensor, other_TO: Tensor | None = None
    ) -> Tensor:
        """x·Wᵀ + b, what adapters add, and `other`."""
        y_TO = linear(x_TI) if other_TO is None else linear.plus(x_TI, other_TO)
        return y_TO if self.adapted is None else self.adapted.add(f"{site[0]}.{site[1]}", x_TI, y_TO)

    def among(self, wanted_M: Tensor) -> _Pass:
        """As it is for some tokens alone."""
        return self if self.adapted is None else self._replace(adapted=self.adapted.among(wanted_M))
